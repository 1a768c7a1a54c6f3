"""Infinity: POST /rerank {"model", "query", "documents", "raw_scores", "return_documents"} ->
{"results": [{"relevance_score", "index", "document"}], "usage"}. No field for an instruction.

Run against a live infinity-emb 0.0.77 (tests/integrations/try_infinity.py). Seen there: `usage`
counts characters, so it is not handed on; any model name is answered by the model it has; a pair
that is too long is cut without a word, and nothing tells its limit: part long documents before
(LongDocuments needs /tokenize, which it has not).
"""

from __future__ import annotations

from typing import Any

from rerank_kit.client.engines.base import (
    Answer,
    Batch,
    ServedModel,
    rows_of,
    scores_in_order,
)
from rerank_kit.client.engines.vllm import served_model
from rerank_kit.client.transport import Transport
from rerank_kit.errors import BadRequestError, InputError


class Infinity:
    name = "infinity"
    one_query_per_request = True

    def describe(self, transport: Transport, told: Any = None) -> ServedModel:
        return served_model(told or transport.get("/models"), transport.root)

    def score(self, transport: Transport, batch: Batch) -> Answer:
        if batch.instruction:
            raise InputError(
                "Infinity has no field for an instruction.",
                hint="leave it out, or serve the model with vLLM",
            )
        if batch.max_tokens_per_doc:
            raise InputError(
                "Infinity cannot cut documents by tokens.", hint="leave max_tokens_per_doc out"
            )
        body = {
            "model": batch.model,
            "query": batch.only_query,
            "documents": [document for _, document in batch.pairs],
            "raw_scores": batch.raw_scores,
            "return_documents": False,
        }
        answer = transport.post("/rerank", body)
        rows = rows_of(answer, "results", len(batch.pairs))
        answered = answer.get("model")
        if batch.model and isinstance(answered, str) and answered != batch.model:
            raise BadRequestError(
                f"{transport.root} does not serve the model {batch.model!r}.",
                evidence=f"it answered with {answered!r}", hint="leave model= out",
            )
        return Answer(scores_in_order(rows, len(batch.pairs), "relevance_score"))
