"""What a score is: p("yes") against p("no"), and its logit, the difference of the two logits.

Scores order the documents of one query. Across queries, instructions and models they are not on
one scale: choose a threshold from labelled pairs (rerank_kit.client.calibration), not by rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: A float32 probability this near to 0 or 1 no longer tells documents apart: ask for raw_scores.
SATURATED = 1e-3


def probability(raw: float) -> float:
    """A raw score (logit) as a probability: the server's sigmoid.

    >>> probability(0.0), round(probability(-0.64323), 5)
    (0.5, 0.34452)
    """
    if raw >= 0:
        return 1 / (1 + math.exp(-raw)) if raw < 700 else 1.0
    return math.exp(raw) / (1 + math.exp(raw)) if raw > -700 else 0.0


def logit(score: float) -> float:
    """A probability as a raw score; infinite at 0 and 1, where the server's own raw_scores still
    differ.

    >>> round(logit(0.34452), 4), logit(1.0)
    (-0.6432, inf)
    """
    if not 0 <= score <= 1:
        raise ValueError(f"{score!r} is not a probability from 0 to 1")
    if score in (0.0, 1.0):
        return math.inf if score else -math.inf
    return math.log(score) - math.log1p(-score)


def saturated(scores: Sequence[float]) -> float:
    """The share of probabilities so near to 0 or 1 that they hardly differ.

    >>> saturated([0.9999, 0.5, 0.00001, 0.2])
    0.5
    """
    if not scores:
        return 0.0
    return sum(not SATURATED < score < 1 - SATURATED for score in scores) / len(scores)
