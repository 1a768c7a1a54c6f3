"""The openai SDK has no rerank method, but posts anything with its key, retries and timeouts."""

from common import BASE, DOCUMENTS, INSTRUCTION, KEY, MODEL, QUERY, TOP_N, attempt
from openai import OpenAI

client = OpenAI(base_url=f"{BASE}/v1", api_key=KEY)


def rerank(**fields: object) -> list[tuple]:
    body = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS, "top_n": TOP_N, **fields}
    answer = client.post("/rerank", body=body, cast_to=object)
    return [(row["index"], row["relevance_score"]) for row in answer["results"]]


attempt("openai", "client.post('/rerank')", rerank)
attempt("openai", "with an instruction", lambda: rerank(instruction=INSTRUCTION), INSTRUCTION)
