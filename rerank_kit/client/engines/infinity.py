"""Infinity: POST /rerank {"model", "query", "documents", "raw_scores", "return_documents"} ->
{"results": [{"relevance_score", "index", "document"}], "usage"}. No field for an instruction.

The request's fields as the public client package (infinity_client, InfinityRerank of
langchain-community) uses them; the server's source was not read and no live server was asked.
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
from rerank_kit.client.engines.vllm import served_model
from rerank_kit.client.transport import Transport
from rerank_kit.errors import InputError


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
        return Answer(scores_in_order(rows, len(batch.pairs), "relevance_score"), tokens_of(answer))
