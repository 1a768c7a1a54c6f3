"""From texts without labels to a verdict: propose queries, judge results blind, decide.

    documents = read_folder("my texts").documents
    search = Search(Bm25(documents), Reranker())
    queries = propose_queries(documents, 25)        # to be edited: real questions are better
    judging = Judging.prepare(search, queries, path="judging.json")
    while item := judging.next():                   # one query and one document, nothing else
        judging.grade(item, 4)                      # 1 useless ... 5 exactly right, or True / False
    print(verdict(judging))                         # search/verdict.py; .write("verdict.html")

For a panel or any other view: nothing here prints, asks or sleeps. prepare() is the only slow call
(it searches every query, with progress(queries done, queries) in between); everything else answers
at once. next() is the same item until it is judged. undo() takes back one judgement after the
other, the latest first, and returns the item to show again. done and total count judgements,
judged_queries the queries that count for a verdict, minutes the time spent. Each grade() and undo()
is in the file at path before the call returns; Judging.load(path) goes on, and verdict(judging) may
be asked at any time after the first complete query.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rerank_kit.errors import FileInputError, InputError
from rerank_kit.registry import read_json_object, write_json
from rerank_kit.search.measures import Difference, difference
from rerank_kit.search.pipeline import DEPTH, Search, check_baseline

#: Results of each way that are judged: what people look at before they try another query.
SHOWN = 5
GRADES = (1, 2, 3, 4, 5)
FORMAT = 2
#: A longer gap between two judgements is a pause, and not counted as time spent.
PAUSE_SECONDS = 180


@dataclass(frozen=True)
class Item:
    """One thing to judge: does the document answer the query? It does not say which way of
    searching found it."""

    query: str
    document_id: str
    title: str
    text: str

    def __str__(self) -> str:
        heading = f"{self.title}\n" if self.title else ""
        return f"query: {self.query}\n\n{heading}{self.text}"


@dataclass
class _Results:
    """What the two ways found for one query, and the order in which it is shown."""

    query: str
    before: list[str]
    after: list[str]
    order: list[str]


class Judging:
    """Blind judgements of recall alone against recall + rerank, kept in a file after each one."""

    def __init__(
        self, results: list[_Results], texts: dict[str, tuple[str, str]], facts: dict[str, str],
        times_ms: dict[str, float], path: Path | None = None,
        judged: Sequence[tuple[str, str, int, float]] = (),
    ) -> None:  # fmt: skip
        self._results, self._texts = results, texts
        self.facts, self.times_ms, self.path = facts, times_ms, path
        #: (query, document) -> (grade, when), in the order in which they were given.
        self._judged = {(query, document): (grade, at) for query, document, grade, at in judged}

    @classmethod
    def prepare(
        cls, search: Search, queries: Sequence[str], *, against: Search | None = None,
        depth: int = DEPTH, shown: int = SHOWN, path: str | Path | None = None, seed: int = 0,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> Judging:  # fmt: skip
        """Search every query in both ways and mix the results.

        against: the old way; None is the recall of search on its own. shown: how many results of
        each way are judged. path: a file in which judgements are kept, so that an interrupted
        session goes on. progress: called after each query with how many are done, of how many.
        """
        if search.reranker is None:
            raise InputError("There is nothing to compare: this search has no reranker.")
        check_baseline(search, against)
        if path is not None and Path(path).exists():
            raise FileInputError(
                f"{path} exists already.",
                hint="go on with it: Judging.load(path); or name another file",
            )
        chance = random.Random(seed)
        results, texts, recall_ms, rerank_ms, candidates = [], {}, [], [], []
        asked = list(dict.fromkeys(query.strip() for query in queries if query.strip()))
        for query in asked:
            found = search.run(query, depth, None)
            if against is None:  # the rank before reranking is part of the result
                recalled = sorted(found, key=lambda one: one.recall_rank)[:shown]
            else:
                recalled = list(against.run(query, depth, shown))
            before = [one.document.id for one in recalled]
            after = [one.document.id for one in found[:shown]]
            order = list(dict.fromkeys(before + after))
            chance.shuffle(order)
            results.append(_Results(query, before, after, order))
            for one in [*recalled, *found[:shown]]:
                texts[one.document.id] = (one.document.title, one.document.text)
            recall_ms.append(found.recall_ms)
            rerank_ms.append(found.rerank_ms)
            candidates.append(found.candidates)
            progress(len(results), len(asked))
        if not results:
            raise InputError("There are no queries to judge.", hint="propose_queries(documents)")
        chance.shuffle(results)
        facts = {
            "before": (against or Search(search.recall)).name, "after": search.name,
            "model": search.reranker.model,
            "depth": str(depth), "documents": str(len(search.documents)),
            "candidates": f"{statistics.median(candidates):.0f}",
        }  # fmt: skip
        times = {
            "recall": statistics.median(recall_ms), "rerank": statistics.median(rerank_ms)
        }  # fmt: skip
        made = cls(results, texts, facts, times, Path(path) if path else None)
        made._save()
        return made

    @classmethod
    def load(cls, path: str | Path) -> Judging:
        """Go on with a session that was kept in a file."""
        kept = read_json_object(Path(path))
        if kept.get("format") != FORMAT:
            raise FileInputError(
                f"{path} holds no judging session.", hint="Judging.prepare(..., path=...) makes one"
            )
        return cls(
            [_Results(**row) for row in kept["results"]],
            {key: (row[0], row[1]) for key, row in kept["texts"].items()},
            kept["facts"], kept["times_ms"], Path(path), [tuple(row) for row in kept["judged"]],
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"Judging({self.done} of {self.total} judged, {len(self._results)} queries)"

    @property
    def total(self) -> int:
        """How many judgements the whole session takes."""
        return sum(len(one.order) for one in self._results)

    @property
    def done(self) -> int:
        return len(self._judged)

    @property
    def queries(self) -> list[str]:
        """All queries of the session, in the order in which they are asked."""
        return [one.query for one in self._results]

    @property
    def minutes(self) -> float:
        """The time between judgements so far, long pauses left out."""
        times = [at for _, at in self._judged.values()]
        gaps = (later - earlier for earlier, later in zip(times, times[1:], strict=False))
        return sum(gap for gap in gaps if 0 < gap <= PAUSE_SECONDS) / 60

    def next(self) -> Item | None:
        """The next thing to judge, or None when all is done. Queries come one after the other."""
        for one in self._results:
            for document in one.order:
                if (one.query, document) not in self._judged:
                    return Item(one.query, document, *self._texts[document])
        return None

    def grade(self, item: Item, value: int | bool) -> None:
        """Keep a judgement: 1 to 5, or True / False (5 and 1). Judging again replaces it."""
        if value is True or value is False:
            value = 5 if value else 1
        if value not in GRADES:
            raise InputError(f"a grade is 1 to 5, or True or False, not {value!r}.")
        if item.document_id not in self._order_of(item.query):
            raise InputError(f"{item.document_id} is no result of {item.query!r} in this session.")
        self._judged.pop((item.query, item.document_id), None)  # the latest goes to the end
        self._judged[item.query, item.document_id] = (value, time.time())
        self._save()

    def undo(self) -> Item | None:
        """Take the latest judgement back; it will be asked again. None when there is none."""
        if not self._judged:
            return None
        (query, document), _ = self._judged.popitem()
        self._save()
        return Item(query, document, *self._texts[document])

    @property
    def judged_queries(self) -> list[str]:
        """The queries all of whose results are judged: only these count."""
        return [
            one.query for one in self._results
            if set(one.order) <= set(self._grades_of(one.query))
        ]  # fmt: skip

    def values(self) -> list[tuple[str, float, float]]:
        """(query, before, after) of every judged query: nDCG of the shown results, with grade - 1
        as gain. 0 for both when nothing useful was found."""
        judged, rows = set(self.judged_queries), []
        for one in self._results:
            if one.query in judged:
                gains = {key: grade - 1 for key, grade in self._grades_of(one.query).items()}
                shown = max(len(one.before), len(one.after))
                ideal = _discounted(sorted(gains.values(), reverse=True)[:shown])
                rows.append((
                    one.query,
                    *(
                        _discounted([gains[key] for key in found]) / ideal if ideal else 0.0
                        for found in (one.before, one.after)
                    ),
                ))  # fmt: skip
        return rows  # type: ignore[return-value]

    def difference(self) -> Difference:
        """Recall + rerank against recall alone, over the judged queries."""
        rows = self.values()
        if not rows:
            raise InputError("No query is judged yet.", hint="judging.next(), judging.grade(...)")
        return difference([row[1] for row in rows], [row[2] for row in rows])

    def nothing_found(self) -> int:
        """Judged queries for which neither way brought anything better than grade 2."""
        return sum(
            max(self._grades_of(query).values(), default=1) <= 2 for query in self.judged_queries
        )

    def _grades_of(self, query: str) -> dict[str, int]:
        return {document: grade for (asked, document), (grade, _) in self._judged.items()
                if asked == query}  # fmt: skip

    def _order_of(self, query: str) -> list[str]:
        return next((one.order for one in self._results if one.query == query), [])

    def _save(self) -> None:
        if self.path is not None:
            write_json(self.path, {
                "format": FORMAT, "results": [asdict(one) for one in self._results],
                "texts": self._texts, "facts": self.facts, "times_ms": self.times_ms,
                "judged": [[*pair, *found] for pair, found in self._judged.items()],
            })  # fmt: skip


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
