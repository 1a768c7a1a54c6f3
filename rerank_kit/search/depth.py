"""How deep should recall reach? Quality and time for several depths."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rerank_kit.errors import InputError
from rerank_kit.search.evaluate import MAIN_MEASURE
from rerank_kit.search.labelled import Labelled
from rerank_kit.search.measures import measure
from rerank_kit.search.pipeline import Search


@dataclass(frozen=True)
class DepthPoint:
    """One depth. quality: mean nDCG@10. candidates: how many documents were reranked on average
    (recall may find fewer than depth). rerank_ms: median time of the second stage."""

    depth: int
    quality: float
    candidates: float
    rerank_ms: float


def depth_curve(
    labelled: Labelled, search: Search, depths: Sequence[int], timed_queries: int = 3
) -> list[DepthPoint]:
    """Quality and time at each depth, shallowest first.

    Every candidate is scored once, at the largest depth: the score of a pair does not depend on
    the other candidates, so a smaller depth keeps those that recall had put high enough. The
    times are measured at each depth, on the first timed_queries queries.
    """
    if not depths or min(depths) < 1:
        raise InputError("depths are whole numbers from 1 on, e.g. [5, 10, 20, 50]")
    results = {query.id: search.run(query.text, max(depths), None) for query in labelled.queries}
    points = []
    for depth in sorted(set(depths)):
        kept = {
            query: [one.document.id for one in found if one.recall_rank <= depth]
            for query, found in results.items()
        }
        values = measure(labelled, kept)
        times = [
            search.run(query.text, depth).rerank_ms for query in labelled.queries[:timed_queries]
        ]
        points.append(DepthPoint(
            depth, statistics.fmean(row[MAIN_MEASURE] for row in values.values()),
            statistics.fmean(len(row) for row in kept.values()), statistics.median(times),
        ))  # fmt: skip
    return points
