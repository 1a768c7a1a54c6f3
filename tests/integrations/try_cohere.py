"""Cohere's SDK, both generations. base_url is the root: it appends /v1/rerank or /v2/rerank."""

import cohere
from common import BASE, DOCUMENTS, INSTRUCTION, KEY, MODEL, QUERY, TOP_N, attempt

CALL = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS, "top_n": TOP_N}


def pairs(answer: object) -> list[tuple]:
    return [(row.index, row.relevance_score) for row in answer.results]


old, new = (kind(api_key=KEY, base_url=BASE) for kind in (cohere.Client, cohere.ClientV2))
attempt("cohere", "Client (v1)", lambda: pairs(old.rerank(**CALL)))
attempt("cohere", "ClientV2", lambda: pairs(new.rerank(**CALL)))
extra = {"additional_body_parameters": {"instruction": INSTRUCTION}}
attempt(
    "cohere", "ClientV2 with an instruction",
    lambda: pairs(new.rerank(**CALL, request_options=extra)), INSTRUCTION,
)  # fmt: skip
