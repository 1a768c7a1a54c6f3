"""Checks for the exercises of notebook 04_two_stage_search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rerank_kit.exercises.outcome import PASS, reply


@reply
def check_depth(depth: int, points: Sequence[Any], loss: float = 0.01) -> str:
    """Is this the smallest depth whose quality is within loss of the best?"""
    best = max(point.quality for point in points)
    enough = [point.depth for point in points if point.quality >= best - loss]
    if depth not in {point.depth for point in points}:
        return "hint: choose one of the depths in the table"
    if depth not in enough:
        return "hint: a larger depth is clearly better"
    if depth > min(enough):
        return "hint: a smaller depth is just as good, and faster"
    return PASS


@reply
def check_enough_queries(count: int, difference: Any, wanted: float) -> str:
    """Are count queries enough to see a difference of wanted, with the spread seen here? (What
    can be seen shrinks with the square root of the number of queries.)"""
    needed = difference.queries * (difference.detectable / wanted) ** 2
    if count < needed:
        return "hint: more; four times the queries show half the difference"
    if count > 1.2 * needed:
        return "hint: so many are more than you need; labelling costs time"
    return PASS
