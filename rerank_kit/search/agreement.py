"""Do two judges who labelled the same pairs agree, and does the result depend on whose labels
are taken?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rerank_kit.errors import InputError
from rerank_kit.search.labelled import Labelled


@dataclass(frozen=True)
class Agreement:
    """Two judges' grades of the same pairs.

    same: share of pairs with the same grade. kappa: the same, less what chance would give two
    judges with these habits: 1 is perfect, 0 is chance (Cohen 1960). kappa_squared: Cohen's
    weighted kappa, in which a gap of two grades counts four times a gap of one.
    table: (first grade, second grade) -> pairs. unjudged: pairs that only the second judge
    graded; unjudged_useful: those of them to which he gave more than 0.
    """

    pairs: int
    same: float
    kappa: float
    kappa_squared: float
    table: dict[tuple[int, int], int]
    unjudged: int = 0
    unjudged_useful: int = 0

    def __str__(self) -> str:
        text = (
            f"{self.pairs:,} pairs graded twice: {self.same:.1%} the same, Cohen's kappa "
            f"{self.kappa:.2f} (with squared weights {self.kappa_squared:.2f})"
        )
        if self.unjudged:
            text += (
                f"; of {self.unjudged:,} pairs without a first label, which count as 0, the "
                f"second judge found {self.unjudged_useful:,} useful"
            )
        return text

    def as_dict(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs, "same": round(self.same, 4), "kappa": round(self.kappa, 4),
            "kappa_squared": round(self.kappa_squared, 4),
            "table": [{"first": a, "second": b, "pairs": count}
                      for (a, b), count in sorted(self.table.items())],
            "unjudged": self.unjudged, "unjudged_useful": self.unjudged_useful,
        }  # fmt: skip


def agreement(first: Sequence[int], second: Sequence[int]) -> Agreement:
    """The agreement of two judges, pair by pair in the same order."""
    if not first or len(first) != len(second):
        raise InputError("Agreement needs the same pairs, at least one, graded by both judges.")
    table = Counter(zip(first, second, strict=True))
    pairs = len(first)
    return Agreement(
        pairs, sum(count for (a, b), count in table.items() if a == b) / pairs,
        _kappa(table, lambda a, b: a != b), _kappa(table, lambda a, b: (a - b) ** 2), dict(table),
    )  # fmt: skip


def agreement_of(first: Labelled, second: dict[str, dict[str, int]]) -> Agreement:
    """The agreement of the labels with another judge's grades (read_qrels)."""
    pairs: list[tuple[int, int]] = []
    unjudged: list[int] = []
    for query in first.queries:
        for document, grade in second.get(query.id, {}).items():
            if document in query.grades:
                pairs.append((query.grades[document], grade))
            else:
                unjudged.append(grade)
    if not pairs:
        raise InputError("The two sets of labels have no pair of query and document in common.")
    found = agreement([a for a, _ in pairs], [b for _, b in pairs])
    return replace(
        found, unjudged=len(unjudged), unjudged_useful=sum(grade > 0 for grade in unjudged)
    )


def _kappa(table: Counter[tuple[int, int]], gap: Callable[[int, int], float]) -> float:
    """1 - observed / expected disagreement. Both judges gave one grade only, and the same: 1."""
    pairs = sum(table.values())
    firsts: Counter[int] = Counter()
    seconds: Counter[int] = Counter()
    for (a, b), count in table.items():
        firsts[a] += count
        seconds[b] += count
    observed = sum(count * gap(a, b) for (a, b), count in table.items()) / pairs
    expected = sum(
        left * right * gap(a, b) for a, left in firsts.items() for b, right in seconds.items()
    ) / pairs**2
    return 1.0 if expected == 0 else 1 - observed / expected
