"""vLLM, also behind vllm-router: POST /v1/score.

/v1/score rather than /v1/rerank: it does not send the documents back, it takes several queries
at once, and the router forwards this one rightly (vllm-router 0.1.17 answers /rerank and /v1/rerank
with "the model `default` does not exist"). Both routes render the same prompt and give the same
scores.
"""

from __future__ import annotations

import threading
from typing import Any

from rerank_kit.client import dialect as dialects
from rerank_kit.client.dialect import Dialect
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
from rerank_kit.errors import ResponseError, WrongServerError


class Vllm:
    """dialect: what this server's version understands; None until the first request asks it."""

    name = "vllm"
    one_query_per_request = False

    def __init__(self, dialect: Dialect | None = None) -> None:
        self.dialect = dialect
        self._asking = threading.Lock()

    def describe(self, transport: Transport, told: Any = None) -> ServedModel:
        """From GET /v1/models; nothing is known behind a router that does not pass it on."""
        try:
            listed = told or transport.get("/v1/models")
        except WrongServerError:
            return ServedModel()
        return served_model(listed, transport.root)

    def score(self, transport: Transport, batch: Batch) -> Answer:
        dialect = self._dialect_for(transport, batch)
        pairs = dialects.cut(dialect, transport, batch.pairs, batch.max_tokens_per_doc)
        body = {
            "model": batch.model,
            **dialect.body(pairs, batch.instruction, batch.max_tokens_per_doc),
            "use_activation": False if batch.raw_scores else None,
        }
        answer = transport.post("/v1/score", body)
        rows = rows_of(answer, "data", len(batch.pairs))
        scores = scores_in_order(rows, len(batch.pairs), "score")
        return Answer(scores, tokens_of(answer))

    def _dialect_for(self, transport: Transport, batch: Batch) -> Dialect:
        """Asked once for all threads: requests of one call are sent side by side."""
        with self._asking:
            known = self.dialect if self.dialect is not None else self._ask(transport)
            self.dialect = dialects.verified(
                known, transport, batch.pairs, batch.instruction, batch.raw_scores
            )
            return self.dialect


    def _ask(self, transport: Transport) -> Dialect:
        return dialects.ask(transport)


class VllmWithoutTemplate(Vllm):
    """A vLLM that somebody started without our chat template, and that cannot be started anew:
    the client sends it the finished prompt, once a known answer has shown that it reads it."""

    def _ask(self, transport: Transport) -> Dialect:
        return dialects.without_template(transport)


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
