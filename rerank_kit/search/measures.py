"""Measures of a ranking (by trec_eval) and whether a difference is more than chance (by scipy)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rerank_kit.search.labelled import Labelled
from rerank_kit.search.needs import need

#: The places of a result list that count.
CUT = 10
#: name -> (trec_eval's name, the places that are looked at; None: all that were returned).
#: nDCG uses the grades themselves as gain, and log2(rank + 1) as discount, as trec_eval does.
MEASURES = {
    "hit@1": ("success_1", 1),
    "MRR@10": ("recip_rank", CUT),
    "nDCG@10": ("ndcg_cut_10", CUT),
    "recall@10": ("recall_10", CUT),
    "recall": ("set_recall", None),
}
#: A difference is called real when chance alone makes one as large in fewer than 5 % of cases.
SIGNIFICANCE = 0.05
RESAMPLES = 9999
SEED = 20261121
#: Below this many queries no verdict is given, whatever the test says: a handful of queries
#: cannot stand for a search.
FEWEST_QUERIES = 20
#: A test on n queries finds a true difference of this many standard errors in four cases of
#: five (1.96 for the two-sided 5 % + 0.84 for the 80 %).
DETECTABLE_ERRORS = 2.8


def measure(
    labelled: Labelled, rankings: Mapping[str, Sequence[str]], relevant_from: int = 1
) -> dict[str, dict[str, float]]:
    """{query id: {measure: value}} for every labelled query; a query without a ranking gets 0.

    rankings: query id -> document ids, best first. The order given is the order judged: scores
    are made from the ranks, because trec_eval itself breaks ties by document id.
    relevant_from: the grade from which a document counts as an answer (nDCG uses all grades).
    """
    trec = need("pytrec_eval", "Measuring a ranking")
    grades = {query.id: query.grades for query in labelled.queries}
    result: dict[str, dict[str, float]] = {query: {} for query in grades}
    for name, (trec_name, cut) in MEASURES.items():
        level = 1 if name.startswith("nDCG") else relevant_from
        judge = trec.RelevanceEvaluator(grades, {trec_name}, relevance_level=level)
        run = {
            query: {document: float(-rank) for rank, document in enumerate(ranking[:cut])}
            for query, ranking in rankings.items()
            if query in grades and ranking
        }
        values = judge.evaluate(run) if run else {}
        for query in grades:
            # trec_eval leaves out queries with an empty ranking: they found nothing, which is 0.
            result[query][name] = float(values.get(query, {}).get(trec_name, 0.0))
    return result


@dataclass(frozen=True)
class Difference:
    """after - before, averaged over the same queries.

    low, high: 95 % confidence interval (bootstrap). p_value: how often chance alone makes a
    difference this large (paired randomisation test). detectable: a true difference smaller
    than this would probably be missed with so many queries.
    """

    before: float
    after: float
    low: float
    high: float
    p_value: float
    detectable: float
    queries: int

    @property
    def mean(self) -> float:
        return self.after - self.before

    @property
    def verdict(self) -> str:
        """better, worse, no difference shown, or too few queries."""
        if self.queries < FEWEST_QUERIES:
            return "too few queries"
        if self.p_value >= SIGNIFICANCE:
            return "no difference shown"
        return "better" if self.mean > 0 else "worse"

    def sentence(self, measure_name: str) -> str:
        """The verdict in words, with the numbers it stands on."""
        numbers = (
            f"{measure_name} {self.before:.3f} -> {self.after:.3f} "
            f"({self.mean:+.3f}, 95 % interval {self.low:+.3f} to {self.high:+.3f}, "
            f"p {p_text(self.p_value)}, {self.queries} queries)"
        )
        if self.verdict == "too few queries":
            return f"too few queries for a verdict (at least {FEWEST_QUERIES}): {numbers}"
        if self.verdict == "no difference shown":
            return (
                f"no difference shown: {numbers}; with so many queries one below "
                f"{self.detectable:.3f} would probably be missed"
            )
        return f"{self.verdict}: {numbers}"

    def as_dict(self) -> dict[str, float | int | str]:
        return {
            "before": round(self.before, 4),
            "after": round(self.after, 4),
            "difference": round(self.mean, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "p_value": round(self.p_value, 4),
            "detectable": round(self.detectable, 4),
            "queries": self.queries,
            "verdict": self.verdict,
        }


def difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Compare paired values, one pair a query. The same values give the same answer each time."""
    numpy = need("numpy", "Comparing two rankings")
    stats = need("scipy.stats", "Comparing two rankings")
    first, second = numpy.asarray(before, float), numpy.asarray(after, float)
    gaps = second - first
    count = len(gaps)
    low = high = float(gaps.mean())
    p_value, detectable = 1.0, float("nan")
    if count > 1:
        detectable = DETECTABLE_ERRORS * statistics.stdev(gaps.tolist()) / count**0.5
    if count > 1 and (gaps != gaps[0]).any():
        p_value = stats.permutation_test(
            (second, first), lambda a, b, axis: (a - b).mean(axis=axis),
            permutation_type="samples", vectorized=True, n_resamples=RESAMPLES,
            rng=numpy.random.default_rng(SEED),
        ).pvalue  # fmt: skip
        interval = stats.bootstrap(
            (gaps,), numpy.mean, n_resamples=RESAMPLES, method="percentile", vectorized=True,
            rng=numpy.random.default_rng(SEED),
        ).confidence_interval  # fmt: skip
        low, high = float(interval.low), float(interval.high)
    elif count > 1 and gaps[0] != 0:
        p_value = 2.0 ** (1 - count)  # the same gain everywhere: all signs alike, by hand
    return Difference(
        float(first.mean()), float(second.mean()), low, high, min(1.0, float(p_value)),
        detectable, count,
    )  # fmt: skip


def p_text(p_value: float) -> str:
    return "0.001 or less" if p_value <= 0.001 else f"{p_value:.3f}"
