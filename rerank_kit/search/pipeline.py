"""Two stages in one call: recall finds candidates, the reranker puts them in order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from rerank_kit.client.ranking import clip
from rerank_kit.client.reranker import Reranker
from rerank_kit.errors import InputError
from rerank_kit.search.documents import Document
from rerank_kit.search.recall import Everything, Recall

#: How many candidates the reranker looks at when nothing is said.
DEPTH = 50
TOP_N = 10
TEXT_COLUMNS = 72


@dataclass(frozen=True)
class Found:
    """One document of a result. rank counts from 1; recall_rank is its rank before reranking;
    score is None when nothing was reranked."""

    rank: int
    document: Document
    recall_rank: int
    score: float | None = None


@dataclass(frozen=True)
class SearchResult(Sequence[Found]):
    """The best documents for a query, and what each stage took (in milliseconds).

    candidates: how many documents recall had found. model: the reranker's, or "".
    """

    query: str
    found: tuple[Found, ...]
    candidates: int
    recall: str
    model: str
    recall_ms: float
    rerank_ms: float
    notes: tuple[str, ...] = ()

    @property
    def total_ms(self) -> float:
        return self.recall_ms + self.rerank_ms

    def __len__(self) -> int:
        return len(self.found)

    @overload
    def __getitem__(self, place: int) -> Found: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Found]: ...
    def __getitem__(self, place: int | slice) -> Found | Sequence[Found]:
        return self.found[place]

    def __iter__(self) -> Iterator[Found]:
        return iter(self.found)

    def __repr__(self) -> str:
        return f"SearchResult({len(self)} of {self.candidates} candidates for {self.query!r})"

    def __str__(self) -> str:
        lines = [f"query: {self.query}", f"model: {self.model or 'none, recall only'}"]
        lines.append("rank  before  score  document")
        for one in self.found:
            score = "    -" if one.score is None else f"{one.score:.3f}"
            shown = clip(f"[{one.document.id}] {one.document.whole}", TEXT_COLUMNS)
            lines.append(f"{one.rank:>4}  {one.recall_rank:>6}  {score}  {shown}")
        if not self.found:
            lines.append(f"nothing found by {self.recall}")
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def timing(self) -> str:
        """What each stage took, as one line."""
        return (
            f"recall ({self.recall}) {self.recall_ms:.0f} ms, reranking {self.candidates} "
            f"candidates {self.rerank_ms:.0f} ms"
        )

    def as_dict(self) -> dict[str, object]:
        """As `rerank-kit search --json` prints it."""
        return {
            "query": self.query,
            "model": self.model or None,
            "recall": self.recall,
            "candidates": self.candidates,
            "recall_ms": round(self.recall_ms, 1),
            "rerank_ms": round(self.rerank_ms, 1),
            "results": [
                {
                    "rank": one.rank,
                    "id": one.document.id,
                    "score": one.score,
                    "recall_rank": one.recall_rank,
                    "title": one.document.title,
                    "text": one.document.text,
                    "source": one.document.source,
                }
                for one in self.found
            ],
            "notes": list(self.notes),
        }


class Search:
    """A first stage and, unless reranker is None, a second one.

    instruction: what "relevant" means here, in English; None is the official default.
    raw_scores: logits, which part documents whose probabilities are all 1.000.
    """

    def __init__(
        self, recall: Recall, reranker: Reranker | None = None, instruction: str | None = None,
        *, raw_scores: bool = False,
    ) -> None:  # fmt: skip
        self.recall, self.reranker = recall, reranker
        self.instruction, self.raw_scores = instruction, raw_scores

    @property
    def name(self) -> str:
        return self.recall.name if self.reranker is None else f"{self.recall.name} + rerank"

    @property
    def documents(self) -> Sequence[Document]:
        return self.recall.documents

    def __repr__(self) -> str:
        return f"Search({self.name}, {len(self.documents):,} documents)"

    def run(self, query: str, depth: int = DEPTH, top_n: int | None = TOP_N) -> SearchResult:
        """The best top_n (None: all) of the depth documents that recall finds.

        Documents with the same score keep the order of recall. Raises InputError, and the
        RequestErrors of the reranker.
        """
        if not query.strip():
            raise InputError("The query is empty.")
        if top_n is not None and top_n < 1:
            raise InputError(f"top_n must be at least 1, not {top_n}.")
        begin = time.perf_counter()
        places = self.recall.find(query, depth)
        recall_ms = (time.perf_counter() - begin) * 1000
        chosen = [self.documents[place] for place in places]
        if self.reranker is None or not chosen:
            found = [Found(rank, one, rank) for rank, one in enumerate(chosen, start=1)]
            return SearchResult(
                query, tuple(found[:top_n]), len(chosen), self.recall.name, "", recall_ms, 0.0
            )
        begin = time.perf_counter()
        ranking = self.reranker.rank(
            query, [one.whole for one in chosen], self.instruction, raw_scores=self.raw_scores
        )
        rerank_ms = (time.perf_counter() - begin) * 1000
        found = [
            Found(one.rank, chosen[one.index], one.index + 1, one.score) for one in ranking
        ]
        notes = [*ranking.notes]
        notes += [f"{chosen[one.index].id} has no score: {one.reason}" for one in ranking.unscored]
        return SearchResult(
            query, tuple(found[:top_n]), len(chosen), self.recall.name, ranking.model,
            recall_ms, rerank_ms, tuple(notes),
        )  # fmt: skip


def check_baseline(search: Search, against: Search | None) -> None:
    """Raises InputError where recall on its own is no ranking that could be compared with."""
    if against is None and isinstance(search.recall, Everything):
        raise InputError(
            "Everything is no ranking: on its own it returns the documents in their own order.",
            hint="name what to compare with: against=Search(Bm25(documents))",
        )
