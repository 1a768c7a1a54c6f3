"""What a load test sends: the user's own queries and documents, in requests that never repeat."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Protocol

from rerank_kit.client.documents import documents_in, read_documents, texts_of
from rerank_kit.errors import InputError

#: No text of ours may be shorter than this when it is cut to a length.
_LEAST_DOCUMENT_TOKENS = 4


class TokenCounter(Protocol):
    """What cutting texts to a length needs: the server's tokenizer, or the model's own file."""

    def borders(self, text: str) -> list[int]: ...

    def overhead(self, query: str, instruction: str | None) -> int: ...


@dataclass(frozen=True)
class Request:
    """One query with its documents, as one HTTP request sends it."""

    query: str
    documents: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """Queries and documents, and how many documents go with a query.

    The same pair twice would be read from the server's cache, so a pair is never sent twice: once
    the queries are used up they come again with a number behind them, and a document that a
    request needs twice has a number before it.
    """

    name: str
    queries: tuple[str, ...]
    documents: tuple[str, ...]
    documents_per_request: int = 32
    instruction: str | None = None

    def __post_init__(self) -> None:
        if not self.queries or not self.documents:
            raise InputError("A load needs at least one query and one document.")
        if self.documents_per_request < 1:
            raise InputError("A request needs at least one document.")

    def requests(self, first: int = 0) -> Iterator[Request]:
        """Requests number `first`, `first + 1` ... for ever; the same ones at every call."""
        return (self.request(number) for number in count(first))

    def request(self, number: int) -> Request:
        round_, place = divmod(number, len(self.queries))
        query = self.queries[place] + (f" ({round_ + 1})" if round_ else "")
        begin = number * self.documents_per_request
        chosen = []
        for offset in range(self.documents_per_request):
            text = self.documents[(begin + offset) % len(self.documents)]
            again = offset // len(self.documents)
            chosen.append(f"({again + 1}) {text}" if again else text)
        return Request(query, tuple(chosen))

    @property
    def fingerprint(self) -> str:
        """Equal for equal loads: measurements may only be compared within one."""
        told = [self.queries, self.documents, self.documents_per_request, self.instruction]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def with_pair_tokens(
        self, mix: Sequence[tuple[int, int]], tokenizer: TokenCounter
    ) -> Workload:
        """The same queries with documents cut, or put together, so that pairs have these many
        tokens, prompt included. mix: (tokens of a pair, share), e.g. ((128, 3), (512, 1)).
        Lengths are exact for the query of middle length and off by the difference for others."""
        overheads = sorted(tokenizer.overhead(query, self.instruction) for query in self.queries)
        overhead = overheads[len(overheads) // 2]
        wanted = [tokens for tokens, share in mix for _ in range(share)]
        made = []
        for place in range(max(len(self.documents), len(wanted))):
            room = wanted[place % len(wanted)] - overhead
            if room < _LEAST_DOCUMENT_TOKENS:
                raise InputError(
                    f"A pair of {room + overhead} tokens leaves no room for a document: query and "
                    f"prompt take {overhead}.",
                    hint=f"ask for pairs of {overhead + 32} tokens or more",
                )
            made.append(_of_length(self.documents, place, room, tokenizer))
        return replace(self, documents=tuple(made))


def _of_length(
    documents: Sequence[str], place: int, tokens: int, tokenizer: TokenCounter
) -> str:
    """Document number `place`, with as much of the following ones as it takes, cut to a length."""
    text = documents[place % len(documents)]
    following = place
    while True:
        borders = tokenizer.borders(text)
        if len(borders) > tokens:
            return text[: borders[tokens]].rstrip() or text[: borders[tokens]]
        if len(borders) == tokens:
            return text
        following += 1
        text = f"{text} {documents[following % len(documents)]}"


def read_workload(
    queries: str | None,
    documents: str | None,
    *,
    documents_per_request: int = 32,
    instruction: str | None = None,
) -> Workload:
    """The user's own files: queries one a line (or JSON lines with "text"), documents as
    `rerank-kit rank` reads them. Raises FileInputError."""
    if not queries or not documents:
        raise InputError(
            "Both files are needed: --queries and --documents.",
            hint="or --corpus-name technical, for texts of this package",
        )
    asked, texts = (tuple(texts_of(read_documents(file))) for file in (queries, documents))
    return Workload(Path(documents).name, asked, texts, documents_per_request, instruction)


def typed_workload(
    queries: str, documents: str, *, documents_per_request: int = 32,
    instruction: str | None = None,
) -> Workload:  # fmt: skip
    """Queries and documents as they were pasted, one a line or JSON lines with "text". Raises
    FileInputError where there are none."""
    asked, texts = (
        tuple(texts_of(documents_in(text, name)))
        for text, name in ((queries, "the box of queries"), (documents, "the box of documents"))
    )
    return Workload("pasted texts", asked, texts, documents_per_request, instruction)


def shipped_workload(
    name: str = "technical", *, documents_per_request: int = 32, instruction: str | None = None
) -> Workload:
    """Queries and documents of a corpus of this package."""
    from rerank_kit.search.labelled import shipped

    found = shipped(name)
    return Workload(
        name,
        tuple(query.text for query in found.queries),
        tuple(document.text for document in found.documents),
        documents_per_request,
        instruction,
    )


def parse_mix(text: str) -> tuple[tuple[int, int], ...]:
    """ "128:3,512" -> ((128, 3), (512, 1)): tokens of a pair, and its share.

    >>> parse_mix("128:3,512")
    ((128, 3), (512, 1))
    """
    mix = []
    for part in text.split(","):
        tokens, _, share = part.partition(":")
        try:
            mix.append((int(tokens), int(share or 1)))
        except ValueError:
            mix.append((0, 0))
        if min(mix[-1]) < 1:
            raise InputError(
                f"{part!r} is no length.", hint="write 512, or 128:3,512:1 for a mix of lengths"
            )
    return tuple(mix)
