"""Hugging Face text-embeddings-inference: POST /rerank {"query", "texts", "raw_scores"} -> a bare
list of {"index", "score"}. It has no field for an instruction, and takes at most
max_client_batch_size texts (GET /info; 32 by default).

After descriptions of its request fields (2026-11-21); its source was not read and no live server
was asked.
"""

from __future__ import annotations

from typing import Any

from rerank_kit.client.engines.base import Answer, Batch, ServedModel, scores_in_order
from rerank_kit.client.transport import Transport
from rerank_kit.errors import InputError


class Tei:
    name = "tei"
    one_query_per_request = True

    def describe(self, transport: Transport, told: Any = None) -> ServedModel:
        info = told or transport.get("/info")
        found = info if isinstance(info, dict) else {}
        return ServedModel(
            found.get("model_id"), found.get("max_input_length"),
            found.get("max_client_batch_size") or 32,
        )  # fmt: skip

    def score(self, transport: Transport, batch: Batch) -> Answer:
        if batch.instruction:
            raise InputError(
                "text-embeddings-inference has no field for an instruction.",
                hint="leave it out, or serve the model with vLLM",
            )
        if batch.max_tokens_per_doc:
            raise InputError(
                "text-embeddings-inference cannot cut documents by tokens.",
                hint="leave max_tokens_per_doc out",
            )
        body = {
            "query": batch.only_query,
            "texts": [document for _, document in batch.pairs],
            "raw_scores": batch.raw_scores,
            "return_text": False,
            "truncate": False,
        }
        rows = transport.post("/rerank", body)
        return Answer(scores_in_order(rows, len(batch.pairs), "score"))
