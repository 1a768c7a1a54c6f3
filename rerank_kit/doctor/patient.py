"""The server under examination: the few things a reranker can be asked from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rerank_kit import versions
from rerank_kit.client.transport import Transport
from rerank_kit.errors import RequestError, ResponseError, WrongServerError

Pair = tuple[str, str]


class Patient:
    """Asks one server. Every method raises a RequestError when the server cannot answer."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._card: dict[str, Any] | None = None
        self._reads_prompts: bool | None = None
        self._version: str | None = None

    @property
    def card(self) -> dict[str, Any]:
        """The first model of /v1/models: id, root, max_model_len (asked once)."""
        if self._card is None:
            try:
                card = self.transport.get("/v1/models")["data"][0]
                self._card = {**card, "id": str(card["id"])}
            except (KeyError, IndexError, TypeError):
                raise ResponseError("it answers, but /v1/models names no model") from None
        return self._card

    @property
    def version(self) -> str:
        """Which vLLM it says it is; "" when it does not say (asked once)."""
        if self._version is None:
            try:
                self._version = str(self.transport.get("/version")["version"])
            except (RequestError, KeyError, TypeError):
                self._version = ""
        return self._version

    def has_route(self, path: str) -> bool:
        """Is there such a route? An empty body costs nothing: a route that exists refuses it."""
        try:
            self.transport.post(path, {})
        except WrongServerError:
            return False
        except RequestError:
            return True
        return True

    def score(self, pairs: Sequence[Pair], **fields: Any) -> list[float]:
        """The scores of /v1/score, in input order."""
        return self._score(pairs, **fields)[0]

    def score_and_count(self, pair: Pair, **fields: Any) -> tuple[float, int | None]:
        """One score, and how many tokens the server says it read for it."""
        scores, count = self._score([pair], **fields)
        return scores[0], count

    def _score(self, pairs: Sequence[Pair], **fields: Any) -> tuple[list[float], int | None]:
        first, second = versions.facts_of(self.version or None).score_fields
        body = {first: [q for q, _ in pairs], second: [d for _, d in pairs], **fields}
        answer = self.transport.post("/v1/score", body)
        try:
            rows = {int(row["index"]): float(row["score"]) for row in answer["data"]}
            scores = [rows[place] for place in range(len(pairs))]
        except (KeyError, TypeError, ValueError, IndexError):
            raise ResponseError("the answer to /v1/score holds no scores") from None
        if not all(math.isfinite(score) for score in scores):
            raise ResponseError("the scores are not numbers (NaN)")
        return scores, _count(answer)

    @property
    def reads_prompts(self) -> bool:
        """Can it score a finished prompt? vLLM's /classify does, past the chat template: so the
        model's head and the template can be judged apart."""
        if self._reads_prompts is None:
            try:
                self.score_prompts(["yes"])
                self._reads_prompts = True
            except RequestError:
                self._reads_prompts = False
        return self._reads_prompts

    def score_prompts(self, prompts: Sequence[str]) -> list[float]:
        """The model's scores of finished prompts, no template in between."""
        body = {"input": list(prompts), "use_activation": True, "add_special_tokens": False}
        answer = self.transport.post("/classify", body)
        try:
            rows = {int(row["index"]): row["probs"] for row in answer["data"]}
            found = [rows[place] for place in range(len(prompts))]
            if any(len(probabilities) != 1 for probabilities in found):
                raise ResponseError("the model has more than one label: it is no reranker")
            return [float(probabilities[0]) for probabilities in found]
        except (KeyError, TypeError, ValueError, IndexError):
            raise ResponseError("the answer to /classify holds no scores") from None

    def tokens(self, text: str) -> list[int]:
        """The server's own tokens of a text."""
        body = {"prompt": text, "add_special_tokens": False}
        return _tokens(self.transport.post("/tokenize", body))

    def rendered(self, query: str, document: str, instruction: str | None = None) -> list[int]:
        """What the server makes of a pair: vLLM renders the score template for these roles."""
        return _tokens(self.transport.post("/tokenize", _messages(query, document, instruction)))

    def rendered_strings(self, query: str, document: str) -> list[str]:
        """The same as token strings; empty where the server does not offer them."""
        body = {**_messages(query, document, None), "return_token_strs": True}
        strings = self.transport.post("/tokenize", body).get("token_strs")
        return [str(one) for one in strings] if isinstance(strings, list) else []


def _messages(query: str, document: str, instruction: str | None) -> dict[str, Any]:
    roles = (("query", query), ("document", document))
    body: dict[str, Any] = {"messages": [{"role": role, "content": text} for role, text in roles]}
    if instruction is not None:
        body["chat_template_kwargs"] = {"instruction": instruction}
    return body


def _tokens(answer: Any) -> list[int]:
    try:
        return [int(token) for token in answer["tokens"]]
    except (KeyError, TypeError, ValueError):
        raise ResponseError("the answer to /tokenize holds no tokens") from None


def _count(answer: Any) -> int | None:
    try:
        return int(answer["usage"]["prompt_tokens"])
    except (KeyError, TypeError, ValueError):
        return None
