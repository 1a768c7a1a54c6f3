"""SGLang: POST /v1/rerank with one query; the instruction's field is called `instruct`; the answer
is a bare list of {"score", "document", "index", "meta_info"}, sorted by score.

After sgl-project/sglang: an older serving_rerank.py was read, of newer versions only the request
class V1RerankReqInput (2026-11-21). Not run against a live SGLang: it needs a GPU.
"""

from __future__ import annotations

from typing import Any

from rerank_kit.client.engines.base import Answer, Batch, ServedModel, scores_in_order
from rerank_kit.client.engines.vllm import served_model
from rerank_kit.client.transport import Transport
from rerank_kit.errors import InputError


class Sglang:
    name = "sglang"
    one_query_per_request = True

    def describe(self, transport: Transport, told: Any = None) -> ServedModel:
        return served_model(told or transport.get("/v1/models"), transport.root)

    def score(self, transport: Transport, batch: Batch) -> Answer:
        if batch.raw_scores:
            raise InputError("SGLang gives no raw scores.", hint="leave raw_scores out")
        if batch.max_tokens_per_doc:
            raise InputError(
                "SGLang cannot cut documents by tokens.", hint="leave max_tokens_per_doc out"
            )
        if any(not query.strip() or not text.strip() for query, text in batch.pairs):
            raise InputError(
                "SGLang refuses empty queries and documents.", hint="leave the empty ones out"
            )
        body = {
            "query": batch.only_query,
            "documents": [document for _, document in batch.pairs],
            "instruct": batch.instruction,
            "return_documents": False,
        }
        rows = transport.post("/v1/rerank", body)
        return Answer(scores_in_order(rows, len(batch.pairs), "score"), _tokens(rows))


def _tokens(rows: Any) -> int | None:
    """The sum of meta_info.prompt_tokens, where every row has it."""
    found = [(row.get("meta_info") or {}).get("prompt_tokens") for row in rows]
    known = [one for one in found if type(one) is int]
    return sum(known) if known and len(known) == len(found) else None
