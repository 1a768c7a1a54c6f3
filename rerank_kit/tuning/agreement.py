"""Does a faster server still rank the same? Its scores against reference scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: Pairs whose reference scores are nearer than this have no order to lose: bfloat16 alone moves
#: single scores by so much (server/readiness.py).
TIE = 0.02


@dataclass(frozen=True)
class Agreement:
    """order_kept: share of document pairs of one query that stand in the reference's order, ties
    left out. same_first: share of queries whose first document is the reference's, or a tie of it.
    largest_difference: of a single score."""

    order_kept: float
    same_first: float
    largest_difference: float

    def as_dict(self) -> dict[str, Any]:
        return {name: round(value, 5) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"{100 * self.order_kept:.1f} % of the order kept, {100 * self.same_first:.0f} % of "
            f"the first places, scores at most {self.largest_difference:.4f} apart"
        )


def agreement(
    reference: Sequence[Sequence[float]], scores: Sequence[Sequence[float]], tie: float = TIE
) -> Agreement:
    """Compare two sets of scores: one inner list for each query, in the same order of documents.

    >>> agreement([[0.9, 0.5, 0.1]], [[0.8, 0.1, 0.3]]).order_kept == 2 / 3
    True
    """
    kept = counted = first = 0
    largest = 0.0
    for wanted, found in zip(reference, scores, strict=True):
        for place, (one, seen) in enumerate(zip(wanted, found, strict=True)):
            largest = max(largest, abs(one - seen))
            for other in range(place):
                if abs(one - wanted[other]) > tie:
                    counted += 1
                    kept += (one > wanted[other]) == (seen > found[other])
        best = max(range(len(found)), key=found.__getitem__)
        first += wanted[best] >= max(wanted) - tie
    return Agreement(kept / counted if counted else 1.0, first / len(reference), largest)
