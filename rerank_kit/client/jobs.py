"""The values that scoring works with: a pair, what became of it, the settings of a call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TypeVar

from rerank_kit.client.long_documents import LongDocuments, Passage, original_offsets
from rerank_kit.errors import RequestError, RequestTooLongError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Pair:
    """One pair as it is sent. original: the document as the user gave it. depth: how often it
    was parted already."""

    query: str
    document: str
    instruction: str | None = None
    original: str = ""
    depth: int = 0

    @property
    def size(self) -> int:
        return len(self.document.encode())


@dataclass
class Outcome:
    """What became of a pair. score is None only when error says why."""

    score: float | None = None
    error: RequestError | None = None
    passages: tuple[Passage, ...] = ()
    truncated: bool = False

    @property
    def winner(self) -> Passage | None:
        """The passage with the highest score, of a document scored in passages."""
        known = [passage for passage in self.passages if passage.score is not None]
        return max(known, key=lambda passage: passage.score or 0.0) if known else None


@dataclass
class Work:
    """Counted over one call; several threads add to it."""

    requests: int = 0
    prompt_tokens: int | None = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, tokens: int | None) -> None:
        with self._lock:
            self.requests += 1
            both = self.prompt_tokens is not None and tokens is not None
            self.prompt_tokens = (self.prompt_tokens or 0) + (tokens or 0) if both else None


@dataclass(frozen=True)
class Settings:
    """What all pairs of one call share."""

    long: LongDocuments = LongDocuments()
    max_tokens_per_doc: int | None = None
    raw_scores: bool = False


def in_parallel(
    run: Callable[[T], R], inputs: Sequence[T], at_once: int
) -> Iterator[R]:
    """Results as they come, in any order. The first error ends the rest and is raised."""
    if len(inputs) < 2:
        yield from map(run, inputs)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="rerank") as pool:
        waiting = [pool.submit(run, one) for one in inputs]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def as_given(
    pair: Pair, passages: tuple[Passage, ...], scores: list[float]
) -> tuple[Passage, ...]:
    """Passages of the text that was sent -> the same places in the text the user gave."""
    original = pair.original or pair.document
    starts = original_offsets(original, pair.document, [one.start for one in passages])
    ends = original_offsets(original, pair.document, [one.end for one in passages])
    return tuple(
        Passage(start, end, original[start:end], one.tokens, score)
        for start, end, one, score in zip(starts, ends, passages, scores, strict=True)
    )


def too_long(pair: Pair, evidence: str = "") -> RequestTooLongError:
    return RequestTooLongError(
        f"It is too long for this server: {len(pair.document):,} characters"
        f" with a query of {len(pair.query):,}.",
        evidence=evidence,
        hint='long_documents="chunk" scores it in passages; or serve a longer --max-model-len',
    )


def without_tokenizer(pair: Pair, evidence: str) -> RequestTooLongError:
    error = too_long(pair, evidence)
    error.hint = "its server has no /tokenize to part it with: pass max_tokens_per_doc"
    return error


def query_too_long(pair: Pair, max_model_len: int | None, room: int) -> RequestTooLongError:
    return RequestTooLongError(
        f"The query leaves no room for a document: it has {len(pair.query):,} characters.",
        evidence=f"context length {max_model_len} tokens, {max(room, 0)} of them free",
        hint="shorten the query or the instruction, or serve a longer --max-model-len",
    )
