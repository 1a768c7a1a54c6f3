"""How far two lists of scores for the same pairs are apart, and does their order agree?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

#: Scores closer than this are a tie: half precision alone moves single scores by so much.
TIE = 0.02


@dataclass(frozen=True)
class Drift:
    """largest, mean: differences of scores. same_order: share of all two-pair comparisons that
    come out the same way, those that are ties in the reference left out."""

    pairs: int
    largest: float
    mean: float
    same_order: float

    @classmethod
    def of(cls, scores: Sequence[float], reference: Sequence[float]) -> Drift:
        gaps = [abs(a - b) for a, b in zip(scores, reference, strict=True)]
        agree = compared = 0
        for first in range(len(reference)):
            for second in range(first):
                before = reference[first] - reference[second]
                if abs(before) > TIE:
                    compared += 1
                    agree += (scores[first] - scores[second]) * before > 0
        return cls(len(gaps), max(gaps), sum(gaps) / len(gaps), agree / max(compared, 1))

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 5) for name, value in asdict(self).items()}


def fuzzed_pairs_and_scores() -> tuple[list[tuple[str, str]], list[float]]:
    """The pairs of the parity test without instructions, scored by the official recipe."""
    from fuzzed_pairs import fuzzed_triples
    from official_recipe import OfficialRecipe

    from rerank_kit.models import practice_model_dir
    from rerank_kit.prompt import neutralise

    recipe = OfficialRecipe(Path(practice_model_dir()))
    pairs = [(t.query, t.document) for t in fuzzed_triples() if not t.instruction]
    return pairs, [recipe.score(neutralise(q)[0], neutralise(d)[0]) for q, d in pairs]
