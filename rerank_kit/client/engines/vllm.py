"""vLLM, also behind vllm-router: POST /v1/score.

/v1/score rather than /v1/rerank: it does not send the documents back, it takes several queries
at once, and the router forwards only this one rightly (SERVING: its /v1/rerank loses the model's
name). Both routes render the same prompt and give the same scores.
"""

from __future__ import annotations

from typing import Any

from rerank_kit.client.engines.base import (
    Answer,
    Batch,
    ServedModel,
    rows_of,
    scores_in_order,
    tokens_of,
)
from rerank_kit.client.texts import shown
from rerank_kit.client.transport import Transport
from rerank_kit.errors import ResponseError


class Vllm:
    name = "vllm"
    one_query_per_request = False

    def describe(self, transport: Transport) -> ServedModel:
        """From GET /v1/models, which a router passes on as well."""
        return served_model(transport.get("/v1/models"), transport.root)

    def score(self, transport: Transport, batch: Batch) -> Answer:
        answer = transport.post("/v1/score", self.body(batch))
        rows = rows_of(answer, "data", len(batch.pairs))
        scores = scores_in_order(rows, len(batch.pairs), "score")
        return Answer(scores, tokens_of(answer))

    def body(self, batch: Batch) -> dict[str, Any]:
        """One query and many documents where the query is shared (it travels once), else as
        many queries as documents."""
        shared = batch.only_query
        return {
            "model": batch.model,
            "queries": [shared] if shared is not None else [query for query, _ in batch.pairs],
            "documents": [document for _, document in batch.pairs],
            "instruction": batch.instruction,
            "max_tokens_per_doc": batch.max_tokens_per_doc,
            "use_activation": False if batch.raw_scores else None,
        }


def served_model(listed: Any, root: str) -> ServedModel:
    """The first model of an OpenAI-style list."""
    try:
        first = listed["data"][0]
        name = first["id"]
        length = first.get("max_model_len")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ResponseError(
            f"{root}/v1/models does not name a model.", evidence=shown(listed),
            hint="is this address the reranker itself?",
        ) from None
    return ServedModel(str(name), length if type(length) is int and length > 0 else None)
