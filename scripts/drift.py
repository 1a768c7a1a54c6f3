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
    def of(
        cls, scores: Sequence[float], reference: Sequence[float], order: bool = True
    ) -> Drift:
        gaps = [abs(a - b) for a, b in zip(scores, reference, strict=True)]
        agree = compared = 0
        for first in range(len(reference) if order else 0):
            for second in range(first):
                before = reference[first] - reference[second]
                if abs(before) > TIE:
                    compared += 1
                    agree += (scores[first] - scores[second]) * before > 0
        return cls(len(gaps), max(gaps), sum(gaps) / len(gaps), agree / max(compared, 1))

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 5) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class RankDrift:
    """What a reader of results would notice, query by query: first place and order.

    same_first: share of queries with the same best document (a tie counts as the same).
    same_order: as in Drift, but only documents of one query are compared. lowest_order: that of
    the query where it is worst."""

    queries: int
    documents: int
    largest: float
    mean: float
    same_first: float
    same_order: float
    lowest_order: float

    @classmethod
    def of(cls, scores: Sequence[float], reference: Sequence[float], documents: int) -> RankDrift:
        """Scores of every query with every document, query after query."""
        queries = range(0, len(reference), documents)
        lists = [(scores[at : at + documents], reference[at : at + documents]) for at in queries]
        each = [Drift.of(*pair) for pair in lists]
        first = [right[seen.index(max(seen))] >= max(right) - TIE for seen, right in lists]
        whole = Drift.of(scores, reference, order=False)
        orders = [one.same_order for one in each]
        return cls(len(lists), documents, whole.largest, whole.mean, sum(first) / len(first),
                   sum(orders) / len(orders), min(orders))  # fmt: skip

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


def corpus_pairs(name: str) -> tuple[list[tuple[str, str]], int]:
    """(every query with every document of a corpus that travels with the package, documents)."""
    from rerank_kit.prompt import neutralise
    from rerank_kit.search import shipped

    corpus = shipped(name)
    texts = [neutralise(document.whole)[0] for document in corpus.documents]
    pairs = [(neutralise(query.text)[0], text) for query in corpus.queries for text in texts]
    return pairs, len(texts)
