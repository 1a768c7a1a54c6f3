"""The client: rank documents for a query, or score pairs, through any running server."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rerank_kit import registry
from rerank_kit.client import dialect
from rerank_kit.client.dialect import Dialect
from rerank_kit.client.ranking import RankedDocument, Ranking
from rerank_kit.client.transport import DEFAULT_TIMEOUT_SECONDS, Transport
from rerank_kit.errors import InputError, NoServerError, RequestTooLongError, ResponseError
from rerank_kit.prompt import neutralise

#: Pairs in one request. Big enough to fill vLLM's batches, small enough to show progress
#: and to keep one answer well under a minute on two CPU cores with the practice model.
PAIRS_PER_REQUEST = 256
#: From this many documents on a progress bar is shown unless progress=False.
PROGRESS_FROM = 1000


class Reranker:
    """A client of one server.

    url: root, /v1 or full /v1/rerank address; None takes RERANK_URL, else the server that
    rerank_kit runs on this machine. api_key: None takes RERANK_API_KEY.
    timeout_seconds: limit of one request. Raises NoServerError when there is no server.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        model: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._transport = Transport(url or default_url(), api_key, timeout_seconds)
        self._model = model
        self._dialect: Dialect | None = None

    @property
    def url(self) -> str:
        return self._transport.root

    @property
    def transport(self) -> Transport:
        """The underlying transport, for requests that this class has no verb for."""
        return self._transport

    def __repr__(self) -> str:
        return f"Reranker({self.url!r})"

    def rank(
        self,
        query: str,
        documents: Iterable[str | dict[str, Any]],
        instruction: str | None = None,
        top_n: int | None = None,
        *,
        max_tokens_per_doc: int | None = None,
        progress: bool | None = None,
    ) -> Ranking:
        """Order documents by relevance to query.

        documents: strings, or dicts with "text" and optionally "id". instruction: what
        "relevant" means, in English; None is the official default. top_n: how many to
        return (every document is scored all the same). max_tokens_per_doc: cut longer
        documents before the prompt is made. Raises InputError, RequestTooLongError (names
        the document) and the other RequestErrors.
        """
        items = [_document(item, place) for place, item in enumerate(_listed(documents))]
        if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int)):
            raise InputError(f"top_n must be a whole number, not {top_n!r}.")
        if top_n is not None and top_n < 1:
            raise InputError(f"top_n must be at least 1, not {top_n}.")
        clean_query, query_found = _clean(query, "query")
        pairs = [(clean_query, item.harmless) for item in items]
        scores = self._score(pairs, instruction, max_tokens_per_doc, progress)
        order = sorted(range(len(items)), key=lambda place: (-scores[place], place))
        ranked = tuple(
            RankedDocument(
                rank=rank,
                index=place,
                score=scores[place],
                text=items[place].text,
                id=items[place].id,
                neutralised=items[place].control_tokens,
            )
            for rank, place in enumerate(order[:top_n], start=1)
        )
        notes = _notes(query_found, [item.control_tokens for item in items])
        return Ranking(query, instruction, self.model, ranked, notes)

    def score(
        self,
        pairs: Iterable[tuple[str, str]],
        instruction: str | None = None,
        *,
        max_tokens_per_doc: int | None = None,
        progress: bool | None = None,
    ) -> list[float]:
        """The relevance score, 0 to 1, of each (query, document) pair, in the order given."""
        cleaned = []
        for place, pair in enumerate(_listed(pairs)):
            if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
                raise InputError(f"pair {place} is not a (query, document) pair: {_shown(pair)}")
            query, _ = _clean(pair[0], f"query of pair {place}")
            document, _ = _clean(pair[1], f"document of pair {place}")
            cleaned.append((query, document))
        return self._score(cleaned, instruction, max_tokens_per_doc, progress)

    @property
    def model(self) -> str:
        """The name of the served model, asked once."""
        if self._model is None:
            listed = self._transport.get("/v1/models")
            try:
                self._model = str(listed["data"][0]["id"])
            except (KeyError, IndexError, TypeError):
                raise ResponseError(
                    f"{self.url}/v1/models does not name a model.", evidence=_shown(listed)
                ) from None
        return self._model

    def _score(
        self,
        pairs: list[tuple[str, str]],
        instruction: str | None,
        max_tokens_per_doc: int | None,
        progress: bool | None,
    ) -> list[float]:
        if not pairs:
            return []
        wording = None
        if instruction is not None:
            wording = _clean(instruction, "instruction")[0] or None
        show = progress if progress is not None else len(pairs) >= PROGRESS_FROM
        scores: list[float] = []
        with _bar(len(pairs), show) as bar:
            for start in range(0, len(pairs), PAIRS_PER_REQUEST):
                batch = pairs[start : start + PAIRS_PER_REQUEST]
                scores += self._score_batch(batch, start, wording, max_tokens_per_doc)
                bar.update(len(batch))
        return scores

    def _score_batch(
        self,
        batch: list[tuple[str, str]],
        start: int,
        instruction: str | None,
        max_tokens_per_doc: int | None,
    ) -> list[float]:
        if self._dialect is None:
            self._dialect = dialect.ask(self._transport)
        self._dialect, pairs = dialect.prepared(
            self._dialect, self._transport, batch, instruction, max_tokens_per_doc
        )
        body = {
            "model": self._model,
            **self._dialect.body(pairs, instruction, max_tokens_per_doc),
        }
        try:
            answer = self._transport.post("/v1/score", body)
        except RequestTooLongError as error:
            raise self._name_longest(error, batch, start) from None
        return _scores_of(answer, len(batch))

    def _name_longest(
        self, error: RequestTooLongError, batch: list[tuple[str, str]], start: int
    ) -> RequestTooLongError:
        """vLLM does not say which pair was too long; the longest one certainly was."""
        place = max(range(len(batch)), key=lambda i: len(batch[i][0]) + len(batch[i][1]))
        query, document = batch[place]
        return RequestTooLongError(
            f"Document {start + place} is too long for this server: {len(document):,} characters"
            f" with a query of {len(query):,}.",
            evidence=error.evidence,
            hint=error.hint,
        )


def default_url() -> str:
    """RERANK_URL, else the newest server that rerank_kit runs here, else NoServerError."""
    named = os.environ.get("RERANK_URL")
    if named:
        return named
    ready = [record for record in registry.living() if record.state == "ready"]
    if not ready:
        raise NoServerError(
            "No server is named and none of ours is running on this machine.",
            hint="run `rerank-kit launch`, or set RERANK_URL to a server's address",
        )
    return ready[-1].url


def _listed(values: Iterable[Any]) -> list[Any]:
    if isinstance(values, str | bytes | dict) or not isinstance(values, Iterable):
        raise InputError(
            f"a list is needed here, not {_shown(values)}",
            hint='put a single text into a list: ["..."]',
        )
    return list(values)


@dataclass(frozen=True)
class _Document:
    """A document as the user gave it, and as it is sent."""

    id: str | None
    text: str
    harmless: str
    control_tokens: tuple[str, ...]


def _document(item: Any, place: int) -> _Document:
    identifier, text = None, item
    if isinstance(item, dict):
        if "text" not in item:
            raise InputError(f'document {place} has no "text": {_shown(item)}')
        identifier = None if item.get("id") is None else str(item["id"])
        text = item["text"]
    harmless, found = _clean(text, f"document {place}")
    return _Document(identifier, text, harmless, found)


def _clean(value: Any, what: str) -> tuple[str, tuple[str, ...]]:
    if not isinstance(value, str):
        raise InputError(f"{what} must be a text, not {_shown(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} is not valid text: it has half a character at position {error.start}.",
            hint="read the file with its right encoding",
        ) from None
    return neutralise(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text[:60]}{'…' if len(text) > 60 else ''}"


def _notes(in_query: tuple[str, ...], in_documents: list[tuple[str, ...]]) -> tuple[str, ...]:
    notes = []
    if in_query:
        notes.append(f"control tokens in the query were neutralised: {', '.join(in_query)}")
    hit = [str(place) for place, tokens in enumerate(in_documents) if tokens]
    if hit:
        shown = ", ".join(hit[:10]) + (" ..." if len(hit) > 10 else "")
        notes.append(f"control tokens were neutralised in document {shown}")
    return tuple(notes)


def _scores_of(answer: Any, expected: int) -> list[float]:
    """Scores in input order. A number that is missing, doubled or no number is an error:
    a wrong score in silence would be worse."""
    try:
        rows = {int(row["index"]): float(row["score"]) for row in answer["data"]}
        scores = [rows[place] for place in range(expected)]
    except (KeyError, TypeError, ValueError, IndexError):
        raise ResponseError(
            f"The server's answer does not hold {expected} scores.", evidence=_shown(answer)
        ) from None
    if len(answer["data"]) != expected or not all(math.isfinite(score) for score in scores):
        raise ResponseError(
            "The server sent scores that are not numbers, or too many of them.",
            hint="run `rerank-kit doctor`; a broken half-precision start gives NaN",
        )
    return scores


def _bar(total: int, show: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, disable=not show, desc="scoring", unit="pair")
