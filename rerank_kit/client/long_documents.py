"""Documents longer than the model reads at once: parted into passages, scored, pooled.

Never use vLLM's `truncate_prompt_tokens` for this: it cuts the finished prompt and with it the
suffix that the score is read after, or the whole document, and answers HTTP 200 with a number.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import Literal

from rerank_kit.client.sentences import sentence_ends
from rerank_kit.client.texts import whole_number
from rerank_kit.client.tokenizer import ServerTokenizer
from rerank_kit.errors import InputError

Mode = Literal["chunk", "cut", "skip", "error"]
MODES: tuple[Mode, ...] = ("chunk", "cut", "skip", "error")
#: A passage parted from its neighbours can have a few tokens more than it had among them.
SPARE_TOKENS = 8
#: Less room than this for a document means that the query is too long.
LEAST_ROOM_TOKENS = 16
#: A passage ends at a sentence only if that keeps it at least this full.
_LEAST_FILL = 0.5


@dataclass(frozen=True)
class LongDocuments:
    """What to do with a document that is too long for the server, or longer than passage_tokens.

    mode: "chunk" scores it passage by passage, "cut" scores its beginning, "skip" leaves it out
    and names it, "error" raises RequestTooLongError. passage_tokens: part every document longer
    than this (None: only those that do not fit whole, into passages as long as fit).
    overlap_tokens: how much neighbours share (None: an eighth). max_chunks_per_doc: at most so
    many passages, counted from the beginning; the rest is not read and `truncated` says so.
    pooling: a document's score is its best passage's ("max"), or the mean of its best top_k.
    """

    mode: Mode = "chunk"
    passage_tokens: int | None = None
    overlap_tokens: int | None = None
    max_chunks_per_doc: int | None = None
    pooling: Literal["max", "mean"] = "max"
    top_k: int = 3

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(
                f"long_documents must be one of {', '.join(MODES)}, not {self.mode!r}."
            )
        if self.pooling not in ("max", "mean"):
            raise InputError(f'pooling must be "max" or "mean", not {self.pooling!r}.')
        whole_number("passage_tokens", self.passage_tokens, LEAST_ROOM_TOKENS)
        whole_number("overlap_tokens", self.overlap_tokens, 0)
        whole_number("max_chunks_per_doc", self.max_chunks_per_doc)
        if whole_number("top_k", self.top_k) is None:
            raise InputError("top_k must be a whole number.")
        size, overlap = self.passage_tokens, self.overlap_tokens
        if size is not None and overlap is not None and overlap >= size:
            raise InputError(f"overlap_tokens ({overlap}) must be less than {size} per passage.")

    def pool(self, scores: list[float]) -> float:
        """The document's score out of its passages'.

        >>> LongDocuments(pooling="mean", top_k=2).pool([0.1, 0.9, 0.5])
        0.7
        """
        best = sorted(scores, reverse=True)[: 1 if self.pooling == "max" else self.top_k]
        return sum(best) / len(best)


def policy_of(choice: LongDocuments | str, max_chunks_per_doc: int | None) -> LongDocuments:
    """The two arguments of rank() and score() as one policy."""
    policy = choice if isinstance(choice, LongDocuments) else LongDocuments(choice)  # type: ignore[arg-type]
    if max_chunks_per_doc is None:
        return policy
    return replace(policy, max_chunks_per_doc=max_chunks_per_doc)


@dataclass(frozen=True)
class Passage:
    """A part of a document: text == document[start:end], offsets in characters."""

    start: int
    end: int
    text: str
    tokens: int
    score: float | None = None


@dataclass(frozen=True)
class Split:
    """The passages of one document. complete: they cover all of it."""

    passages: tuple[Passage, ...]
    complete: bool


def split(
    text: str,
    tokenizer: ServerTokenizer,
    passage_tokens: int,
    overlap_tokens: int | None = None,
    max_passages: int | None = None,
) -> Split:
    """Part text into passages of at most passage_tokens tokens, at sentence ends where there are
    any, neighbours sharing about overlap_tokens (None: an eighth of a passage)."""
    overlap = passage_tokens // 8 if overlap_tokens is None else overlap_tokens
    overlap = min(overlap, passage_tokens // 2)
    enough = None if max_passages is None else (max_passages + 1) * passage_tokens
    borders = tokenizer.borders(text, enough)
    ends = sentence_ends(text)
    passages: list[Passage] = []
    start = 0
    while start < len(text):
        if max_passages is not None and len(passages) == max_passages:
            return Split(tuple(passages), complete=False)
        end = _end_of_passage(start, len(text), borders, ends, passage_tokens)
        first, last = bisect_left(borders, start), bisect_left(borders, end)
        passages.append(Passage(start, end, text[start:end], last - first))
        if end >= len(text):
            break
        start = _start_of_next(start, end, borders, ends, overlap)
    return Split(tuple(passages), complete=True)


def _end_of_passage(
    start: int, length: int, borders: list[int], ends: list[int], size: int
) -> int:
    first = bisect_left(borders, start)
    if first + size >= len(borders):
        return length
    hard_end = borders[first + size]
    least = borders[first + max(1, int(size * _LEAST_FILL))]
    place = bisect_right(ends, hard_end) - 1
    if place >= 0 and ends[place] >= least and ends[place] > start:
        return ends[place]
    return max(hard_end, start + 1)


def _start_of_next(
    start: int, end: int, borders: list[int], ends: list[int], overlap: int
) -> int:
    """The first sentence within the overlap, else the token where the overlap begins."""
    if overlap == 0:
        return end
    earliest = borders[max(0, bisect_left(borders, end) - overlap)]
    place = bisect_left(ends, earliest)
    candidate = ends[place] if place < len(ends) and ends[place] < end else earliest
    return candidate if start < candidate < end else end


def original_offsets(original: str, harmless: str, offsets: list[int]) -> list[int]:
    """Offsets in a neutralised text -> the same places in the text the user gave.

    >>> original_offsets("a<think>b", "a< think>b", [0, 2, 9, 10])
    [0, 2, 8, 9]
    """
    if original == harmless:
        return offsets
    added, place = [], 0
    for position, character in enumerate(harmless):
        if place < len(original) and original[place] == character:
            place += 1
        else:
            added.append(position)
    return [offset - bisect_left(added, offset) for offset in offsets]
