"""Thresholds and calibrated probabilities from labelled scores. Needs the `calibration` extra
(scikit-learn), which does the statistics; here is only what a reranker's user asks of it.

labels: true or false (1 or 0) for each score: was the pair relevant? scores: probabilities as
rank() and score() return them (raw scores are accepted where said).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rerank_kit.client.scores import logit, probability
from rerank_kit.errors import InputError, SetupError

#: Where a probability has saturated to 0 or 1 its logit is infinite; float32 ends near here.
_LARGEST_LOGIT = 17.0


@dataclass(frozen=True)
class Threshold:
    """A score to keep documents from, with what it does on the labelled data."""

    score: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    def __str__(self) -> str:
        return (
            f"keep scores from {self.score:.3f}: {self.precision:.0%} of what is kept is "
            f"relevant, {self.recall:.0%} of what is relevant is kept"
        )


def precision_recall(labels: Sequence[Any], scores: Sequence[float]) -> list[Threshold]:
    """Every threshold that makes a difference, from the lowest score to the highest."""
    truth, values = _checked(labels, scores)
    precision, recall, cut = _sklearn("metrics").precision_recall_curve(truth, values)
    return [
        Threshold(float(at), float(p), float(r))
        for at, p, r in zip(cut, precision[:-1], recall[:-1], strict=True)
    ]


def choose_threshold(
    labels: Sequence[Any],
    scores: Sequence[float],
    *,
    precision: float | None = None,
    recall: float | None = None,
) -> Threshold:
    """The best threshold for a goal. precision=0.9: the most recall with at least that precision;
    recall=0.9: the most precision with at least that recall; neither: the best F1. Works on raw
    scores as well. Raises InputError where no threshold reaches the goal."""
    if precision is not None and recall is not None:
        raise InputError("Name one goal: precision or recall.")
    for goal in (precision, recall):
        if goal is not None and not 0 < goal <= 1:
            raise InputError(f"a goal must be above 0 and at most 1, not {goal!r}.")
    curve = precision_recall(labels, scores)
    if precision is not None:
        reached = [one for one in curve if one.precision >= precision]
        if not reached:
            best = max(one.precision for one in curve)
            raise InputError(
                f"No threshold reaches a precision of {precision:g}: the best is {best:.3f}.",
                hint="ask for less, or look for a better instruction or model",
            )
        return max(reached, key=lambda one: (one.recall, one.precision))
    if recall is not None:
        reached = [one for one in curve if one.recall >= recall]
        return max(reached, key=lambda one: (one.precision, one.score))
    return max(curve, key=lambda one: one.f1)


@dataclass(frozen=True)
class ReliabilityBin:
    """Pairs with similar scores: their mean score, and the share of them that is relevant."""

    mean_score: float
    relevant_share: float


def reliability(
    labels: Sequence[Any], scores: Sequence[float], bins: int = 10
) -> list[ReliabilityBin]:
    """The points of a reliability diagram: equal when scores are honest probabilities. Bins hold
    equally many pairs; empty ones are left out."""
    truth, values = _checked(labels, scores)
    if any(not 0 <= value <= 1 for value in values):
        raise InputError("reliability() needs probabilities from 0 to 1, not raw scores.")
    shares, means = _sklearn("calibration").calibration_curve(
        truth, values, n_bins=bins, strategy="quantile"
    )
    return [ReliabilityBin(float(m), float(s)) for m, s in zip(means, shares, strict=True)]


@dataclass(frozen=True)
class Calibration:
    """probability(slope * logit + intercept). Temperature scaling is slope = 1 / temperature."""

    method: str
    slope: float
    intercept: float

    @property
    def temperature(self) -> float:
        return 1 / self.slope

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """Calibrated probabilities; the order of scores stays."""
        return [probability(self.slope * _logit(s) + self.intercept) for s in scores]


def calibrate(
    labels: Sequence[Any], scores: Sequence[float], method: str = "platt"
) -> Calibration:
    """Fit "platt" (slope and intercept) or "temperature" (slope only) on labelled probabilities.
    Fit on one part of your labels and look at reliability() on the other."""
    if method not in ("platt", "temperature"):
        raise InputError(f'method must be "platt" or "temperature", not {method!r}.')
    truth, values = _checked(labels, scores)
    if any(not 0 <= value <= 1 for value in values):
        raise InputError("calibrate() needs probabilities from 0 to 1, not raw scores.")
    # C: so weak a penalty that it plays no part but keeps separable labels finite.
    model = _sklearn("linear_model").LogisticRegression(
        C=1e4, fit_intercept=method == "platt", max_iter=1000
    )
    model.fit([[_logit(value)] for value in values], truth)
    slope = float(model.coef_[0][0])
    if slope <= 0:
        raise InputError(
            "Higher scores are less often relevant in these labels, so there is no calibration.",
            hint="check that 1 means relevant; `rerank-kit doctor` checks the server",
        )
    return Calibration(method, slope, float(model.intercept_[0]) if method == "platt" else 0.0)


def _logit(score: float) -> float:
    return max(-_LARGEST_LOGIT, min(_LARGEST_LOGIT, logit(score)))


def _checked(labels: Sequence[Any], scores: Sequence[float]) -> tuple[list[int], list[float]]:
    if len(labels) != len(scores):
        raise InputError(f"{len(labels)} labels for {len(scores)} scores.")
    if any(label not in (0, 1) for label in labels):
        raise InputError("labels must be 0 or 1 (False or True).")
    values = [float(score) for score in scores]
    if not all(map(math.isfinite, values)):
        raise InputError("a score is not a finite number.")
    truth = [int(label) for label in labels]
    if len(set(truth)) < 2:
        raise InputError(
            "Labels of both kinds are needed: some pairs relevant, some not.",
            hint="label some clearly irrelevant pairs as well",
        )
    return truth, values


def _sklearn(part: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"sklearn.{part}")
    except ImportError:
        raise SetupError(
            "scikit-learn is not installed.", hint='pip install "rerank-kit[calibration]"'
        ) from None
