"""Recall alone against recall + rerank on labelled queries: quality, time, and certainty."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rerank_kit.client.ranking import clip
from rerank_kit.errors import InputError
from rerank_kit.memory.show import aligned
from rerank_kit.search.labelled import Labelled, Query
from rerank_kit.search.measures import MEASURES, Difference, difference, measure
from rerank_kit.search.pipeline import DEPTH, Search, check_baseline

#: The measure that decides, because it looks at the whole first page and at all grades.
MAIN_MEASURE = "nDCG@10"
#: Marks of the shipped corpora by which results are broken down.
GROUPS = ("languages", "kind")


@dataclass(frozen=True)
class Run:
    """One way of searching, over all queries: the rankings (document ids), the values of every
    measure for every query, and the times of both stages in milliseconds."""

    name: str
    rankings: dict[str, list[str]]
    values: dict[str, dict[str, float]]
    recall_ms: tuple[float, ...]
    rerank_ms: tuple[float, ...]

    def mean(self, name: str) -> float:
        return statistics.fmean(row[name] for row in self.values.values())


@dataclass(frozen=True)
class Change:
    """One query whose result changed. The ranks are those of its first answer; None: not found."""

    query: Query
    before: float
    after: float
    rank_before: int | None
    rank_after: int | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.query.id, "query": self.query.text,
            "before": round(self.before, 4), "after": round(self.after, 4),
            "rank_before": self.rank_before, "rank_after": self.rank_after,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Two ways of searching the same documents with the same labelled queries."""

    labelled: Labelled
    before: Run
    after: Run
    model: str
    depth: int
    differences: dict[str, Difference]
    groups: dict[str, Difference]

    @property
    def main(self) -> Difference:
        return self.differences[MAIN_MEASURE]

    @property
    def changes(self) -> list[Change]:
        """Every query whose main measure changed, the largest gain first, the worst loss last."""
        found = []
        for query in self.labelled.queries:
            old = self.before.values[query.id][MAIN_MEASURE]
            new = self.after.values[query.id][MAIN_MEASURE]
            if abs(new - old) > 1e-9:
                ranks = [_first_answer(run.rankings[query.id], query) for run in self._runs]
                found.append(Change(query, old, new, *ranks))
        return sorted(found, key=lambda change: (change.before - change.after, change.query.id))

    @property
    def _runs(self) -> tuple[Run, Run]:
        return self.before, self.after

    def __str__(self) -> str:
        head = f"{self.labelled!r}, depth {self.depth}"
        lines = [head, f"model: {self.model or 'none'}", "", *self.table(), ""]
        lines += [f"verdict: {self.main.sentence(MAIN_MEASURE)}"]
        if self.groups:
            lines += ["", *self.group_table()]
        gains = [change for change in self.changes if change.after > change.before]
        losses = len(self.changes) - len(gains)
        same = len(self.labelled.queries) - len(self.changes)
        lines += ["", f"queries: {len(gains)} better, {losses} worse, {same} the same"]
        lines += [f"note: {note}" for note in self.labelled.notes]
        return "\n".join(lines)

    def table(self) -> list[str]:
        """Each measure before and after, as aligned lines."""
        rows = [["measure", self.before.name, self.after.name, "change", "95 % interval", ""]]
        for name, found in self.differences.items():
            rows.append([
                name, f"{found.before:.3f}", f"{found.after:.3f}", f"{found.mean:+.3f}",
                f"{found.low:+.3f} to {found.high:+.3f}", found.verdict,
            ])  # fmt: skip
        return aligned(rows, numbers=(1, 2, 3, 4))

    def group_table(self) -> list[str]:
        """The main measure for each kind of query, as aligned lines."""
        rows = [["group", "queries", "before", "after", "change", ""]]
        for name, found in self.groups.items():
            rows.append([
                name, str(found.queries), f"{found.before:.3f}", f"{found.after:.3f}",
                f"{found.mean:+.3f}", found.verdict,
            ])  # fmt: skip
        return [f"{MAIN_MEASURE} by kind of query", *aligned(rows, numbers=(1, 2, 3, 4))]

    def times(self) -> list[str]:
        """The time of each stage for one query, as aligned lines. They vary from run to run."""
        rows = [["milliseconds per query", "median", "95 % below"]]
        for name, values in (
            ("recall", self.after.recall_ms), ("rerank", self.after.rerank_ms)
        ):  # fmt: skip
            rows.append([name, f"{statistics.median(values):.1f}", f"{quantile(values):.1f}"])
        return aligned(rows, numbers=(1, 2))

    def as_dict(self) -> dict[str, Any]:
        """As `rerank-kit evaluate --json` prints it."""
        return {
            "corpus": self.labelled.name,
            "documents": len(self.labelled.documents),
            "queries": len(self.labelled.queries),
            "depth": self.depth,
            "model": self.model or None,
            "before": self.before.name,
            "after": self.after.name,
            "measures": {name: found.as_dict() for name, found in self.differences.items()},
            "groups": {name: found.as_dict() for name, found in self.groups.items()},
            "main_measure": MAIN_MEASURE,
            "verdict": self.main.verdict,
            "recall_ms": round(statistics.median(self.after.recall_ms), 2),
            "rerank_ms": round(statistics.median(self.after.rerank_ms), 2),
            "changes": [change.as_dict() for change in self.changes],
            "notes": list(self.labelled.notes),
        }


def compare(
    labelled: Labelled,
    search: Search,
    *,
    against: Search | None = None,
    depth: int = DEPTH,
    relevant_from: int = 1,
    group_by: Sequence[str] = GROUPS,
    progress: bool | None = None,
) -> Comparison:
    """Search every labelled query in two ways and compare.

    search: the new way. against: the old one; None is the recall of search on its own.
    depth: how many candidates recall may bring. relevant_from: the grade from which a document
    counts as an answer. group_by: marks in the queries' metadata by which the main measure is
    broken down, where a query carries them.
    """
    if against is None and search.reranker is None:
        raise InputError(
            "There is nothing to compare: this search has no reranker.",
            hint="give it one, or name the other search: compare(..., against=...)",
        )
    check_baseline(search, against)
    _check_same(labelled, search, against)
    with _bar(len(labelled.queries) * (2 if against else 1), progress) as step:
        after = run(labelled, search, depth, relevant_from, step)
        if against is None:
            before = _recall_of(labelled, search, depth, relevant_from)
        else:
            before = run(labelled, against, depth, relevant_from, step)
    model = "" if search.reranker is None else search.reranker.model
    return _comparison(labelled, before, after, model, depth, group_by)


def with_labels(
    comparison: Comparison, labelled: Labelled, relevant_from: int = 1,
    group_by: Sequence[str] = GROUPS,
) -> Comparison:  # fmt: skip
    """The same rankings measured with other labels (Labelled.graded_by): nothing is searched
    again."""

    def measured(one: Run) -> Run:
        rankings = {query.id: one.rankings[query.id] for query in labelled.queries}
        return replace(one, rankings=rankings, values=measure(labelled, rankings, relevant_from))

    return _comparison(
        labelled, measured(comparison.before), measured(comparison.after), comparison.model,
        comparison.depth, group_by,
    )  # fmt: skip


def _comparison(
    labelled: Labelled, before: Run, after: Run, model: str, depth: int, group_by: Sequence[str]
) -> Comparison:
    return Comparison(
        labelled, before, after, model, depth,
        {
            name: _difference(labelled.queries, before, after, name)
            for name in MEASURES
            # When a search returns every document, "recall" is 1 and says nothing.
            if name != "recall" or not _finds_all(labelled, after)
        },
        _groups(labelled, before, after, group_by),
    )  # fmt: skip


def run(
    labelled: Labelled, search: Search, depth: int = DEPTH, relevant_from: int = 1,
    step: Callable[[int], Any] = lambda done: None,
) -> Run:  # fmt: skip
    """Search every labelled query in one way and measure it."""
    rankings, recall_ms, rerank_ms = {}, [], []
    for query in labelled.queries:
        result = search.run(query.text, depth, None)
        rankings[query.id] = [one.document.id for one in result]
        recall_ms.append(result.recall_ms)
        rerank_ms.append(result.rerank_ms)
        step(1)
    values = measure(labelled, rankings, relevant_from)
    return Run(search.name, rankings, values, tuple(recall_ms), tuple(rerank_ms))


def quantile(values: Sequence[float], share: float = 0.95) -> float:
    """The value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _recall_of(labelled: Labelled, search: Search, depth: int, relevant_from: int) -> Run:
    return run(labelled, Search(search.recall), depth, relevant_from)


def _difference(queries: Sequence[Query], before: Run, after: Run, name: str) -> Difference:
    return difference(
        [before.values[query.id][name] for query in queries],
        [after.values[query.id][name] for query in queries],
    )


def _groups(
    labelled: Labelled, before: Run, after: Run, group_by: Sequence[str]
) -> dict[str, Difference]:
    found = {}
    for key in group_by:
        marks = {str(query.metadata[key]) for query in labelled.queries if key in query.metadata}
        for mark in sorted(marks):
            members = [q for q in labelled.queries if str(q.metadata.get(key)) == mark]
            found[f"{key}: {mark}"] = _difference(members, before, after, MAIN_MEASURE)
    return found


def _first_answer(ranking: Sequence[str], query: Query) -> int | None:
    best = max(query.grades.values())
    for rank, document in enumerate(ranking, start=1):
        if query.grades.get(document, 0) == best:
            return rank
    return None


def _finds_all(labelled: Labelled, one: Run) -> bool:
    return all(len(ranking) == len(labelled.documents) for ranking in one.rankings.values())


def _check_same(labelled: Labelled, search: Search, against: Search | None) -> None:
    ids = {document.id for document in labelled.documents}
    for one in (search, against):
        if one is not None and {document.id for document in one.documents} != ids:
            raise InputError(
                f"{one!r} does not search the documents of {labelled!r}.",
                hint="build its recall from labelled.documents",
            )


def changes_text(comparison: Comparison, most: int = 5) -> str:
    """The largest gains and losses, query by query, as aligned lines."""
    changes = comparison.changes
    gains = [change for change in changes if change.after > change.before][:most]
    losses = [change for change in reversed(changes) if change.after < change.before][:most]
    rows = [["", "first answer", MAIN_MEASURE, "query"]]
    for sign, chosen in (("+", gains), ("-", losses)):
        for one in chosen:
            ranks = f"{one.rank_before or 'none'} -> {one.rank_after or 'none'}"
            rows.append([sign, ranks, f"{one.before:.2f} -> {one.after:.2f}",
                         clip(one.query.text, 60)])  # fmt: skip
    return "\n".join(aligned(rows))


class _bar:
    """A progress bar on stderr; shown in a terminal unless it was asked for or forbidden."""

    def __init__(self, total: int, show: bool | None) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(
            total=total, unit="query", desc="searching", leave=False,
            disable=None if show is None else not show,
        )  # fmt: skip

    def __enter__(self) -> Callable[[int], Any]:
        return self._bar.update

    def __exit__(self, *problem: object) -> None:
        self._bar.close()
