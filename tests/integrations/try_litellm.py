"""LiteLLM, sync and async. instruction= is handed on; extra_body= is dropped in silence."""

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no request to the outside at import

import litellm
from common import BASE, DOCUMENTS, INSTRUCTION, KEY, MODEL, QUERY, TOP_N, attempt

CALL = {
    "model": f"hosted_vllm/{MODEL}", "query": QUERY, "documents": DOCUMENTS, "top_n": TOP_N,
    "api_base": BASE, "api_key": KEY,
}  # fmt: skip


def pairs(answer: object) -> list[tuple]:
    return [(row["index"], row["relevance_score"]) for row in answer.results]


attempt("litellm", "rerank", lambda: pairs(litellm.rerank(**CALL)))
attempt("litellm", "arerank", lambda: pairs(asyncio.run(litellm.arerank(**CALL))))
attempt(
    "litellm", "rerank with an instruction",
    lambda: pairs(litellm.rerank(**CALL, instruction=INSTRUCTION)), INSTRUCTION,
)  # fmt: skip
