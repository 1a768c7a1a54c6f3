"""How deep should recall reach? Quality and time for several depths."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rerank_kit.errors import InputError
from rerank_kit.search.evaluate import MAIN_MEASURE
from rerank_kit.search.labelled import Labelled
from rerank_kit.search.measures import measure
from rerank_kit.search.pipeline import Search, SearchResult


@dataclass(frozen=True)
class DepthPoint:
    """One depth. quality: mean nDCG@10. candidates: how many documents were reranked on average
    (recall may find fewer than depth). rerank_ms: median time of the second stage, for the queries
    with the most candidates and texts that the server has not read before."""

    depth: int
    quality: float
    candidates: float
    rerank_ms: float


def depth_curve(
    labelled: Labelled, search: Search, depths: Sequence[int], timed_queries: int = 5
) -> list[DepthPoint]:
    """Quality and time at each depth, shallowest first.

    Every candidate is scored once, at the largest depth: the score of a pair does not depend on
    the other candidates, so a smaller depth keeps those that recall had put high enough. The
    times are measured at each depth, on the timed_queries queries that have most candidates.
    """
    if not depths or min(depths) < 1:
        raise InputError("depths are whole numbers from 1 on, e.g. [5, 10, 20, 50]")
    results = {query.id: search.run(query.text, max(depths), None) for query in labelled.queries}
    fullest = sorted(results.values(), key=len, reverse=True)[:timed_queries]
    times = _times(search, fullest, sorted(set(depths)))
    points = []
    for depth in sorted(set(depths)):
        kept = {
            query: [one.document.id for one in found if one.recall_rank <= depth]
            for query, found in results.items()
        }
        values = measure(labelled, kept)
        points.append(DepthPoint(
            depth, statistics.fmean(row[MAIN_MEASURE] for row in values.values()),
            statistics.fmean(len(row) for row in kept.values()), times[depth],
        ))  # fmt: skip
    return points


def _times(
    search: Search, results: Sequence[SearchResult], depths: Sequence[int]
) -> dict[int, float]:
    """Median milliseconds of the second stage at each depth.

    A mark on every query keeps the server's prefix cache out of it: a pair that was scored before
    costs next to nothing. Each query is timed at all depths in turn, so that a machine that is
    busy for a while is so for all of them alike.
    """
    if search.reranker is None:
        return dict.fromkeys(depths, 0.0)
    taken: dict[int, list[float]] = {depth: [] for depth in depths}
    for turn, result in enumerate((*results[:1], *results)):  # turn 0 warms up and is not counted
        by_recall = sorted(result, key=lambda one: one.recall_rank)
        texts = [one.document.whole for one in by_recall]
        for depth in depths if texts else ():
            query = f"{result.query} {secrets.token_hex(4)}"
            begin = time.perf_counter()
            search.reranker.rank(query, texts[:depth], search.instruction)
            if turn:
                taken[depth].append((time.perf_counter() - begin) * 1000)
    return {depth: statistics.median(times or [0.0]) for depth, times in taken.items()}
