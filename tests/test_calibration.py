"""Thresholds and calibration, on made scores whose truth is known, and on the live server."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from rerank_kit import Reranker, errors
from rerank_kit.client.calibration import (
    calibrate,
    choose_threshold,
    precision_recall,
    reliability,
)
from rerank_kit.client.scores import logit, probability, saturated
from rerank_kit.samples import SAMPLES

LABELS = [0, 0, 1, 0, 1, 1]
SCORES = [0.1, 0.2, 0.3, 0.6, 0.7, 0.9]


def overconfident(count: int) -> tuple[list[int], list[float]]:
    """Scores whose logits are three times too large, moved by one: slope 1/3, intercept -1/3."""
    rng = random.Random(3)
    labels, shown = [], []
    for _ in range(count):
        raw = rng.gauss(0, 2)
        labels.append(int(rng.random() < probability(raw)))
        shown.append(probability(3 * raw + 1))
    return labels, shown


def test_a_threshold_for_each_goal() -> None:
    sure = choose_threshold(LABELS, SCORES, precision=1.0)
    assert (sure.score, sure.precision, sure.recall) == (0.7, 1.0, pytest.approx(2 / 3))
    all_found = choose_threshold(LABELS, SCORES, recall=1.0)
    assert (all_found.score, all_found.precision) == (0.3, 0.75)
    best = choose_threshold(LABELS, SCORES)
    assert best.f1 == max(one.f1 for one in precision_recall(LABELS, SCORES))
    assert "75% of what is kept" in str(all_found)


def test_a_goal_out_of_reach_says_the_best_there_is() -> None:
    with pytest.raises(errors.InputError, match="the best is 0.667"):
        choose_threshold([0, 1, 1, 0], [0.6, 0.7, 0.8, 0.9], precision=0.99)


def test_calibration_finds_the_true_slope_and_intercept() -> None:
    labels, shown = overconfident(4000)
    fitted = calibrate(labels, shown)
    assert fitted.slope == pytest.approx(1 / 3, abs=0.03)
    assert fitted.intercept == pytest.approx(-1 / 3, abs=0.12)
    before, after = reliability(labels, shown), reliability(labels, fitted(shown))

    def worst(bins: list[object]) -> float:
        return max(abs(one.mean_score - one.relevant_share) for one in bins)

    assert worst(after) < 0.08 < worst(before)
    assert fitted([0.2, 0.8]) == sorted(fitted([0.2, 0.8]))
    temperature = calibrate(labels, shown, "temperature")
    assert temperature.intercept == 0 and temperature.temperature == pytest.approx(3, abs=0.5)


def test_saturated_scores_are_no_trouble() -> None:
    fitted = calibrate([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0])
    low, high = fitted([0.0, 1.0])
    assert 0 <= low < 0.5 < high <= 1
    assert saturated([0.0, 1.0, 0.5]) == pytest.approx(2 / 3) and saturated([]) == 0
    assert probability(1000) == 1.0 and probability(-1000) == 0.0
    with pytest.raises(ValueError):
        logit(1.1)


@pytest.mark.parametrize(
    ("labels", "given"),
    [([1], [0.1, 0.2]), ([1, 1], [0.1, 0.2]), ([0, 2], [0.1, 0.2]), ([0, 1], [0.1, float("nan")]),
     ([], []), ([0, 1], [1.5, 0.2])],
)  # fmt: skip
def test_labels_that_cannot_be_used(labels: list[int], given: list[float]) -> None:
    with pytest.raises(errors.InputError):
        calibrate(labels, given)


def test_labels_upside_down_are_noticed() -> None:
    with pytest.raises(errors.InputError, match="less often relevant"):
        calibrate([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9])


def test_a_threshold_for_the_live_server(reranker: Reranker) -> None:
    pairs = [(sample.query, text) for sample in SAMPLES for text in sample.documents]
    labels = [place == sample.best for sample in SAMPLES for place in range(len(sample.documents))]
    chosen = choose_threshold(labels, reranker.score(pairs), recall=1.0)
    kept = reranker.rank(SAMPLES[0].query, SAMPLES[0].documents, threshold=chosen.score - 1e-5)
    assert SAMPLES[0].best in [hit.index for hit in kept]


def test_without_scikit_learn_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from rerank_kit import errors\n"
        "from rerank_kit.client.calibration import calibrate\n"
        "try: calibrate([0, 1], [0.1, 0.9])\n"
        "except errors.SetupError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "scikit-learn is not installed" in done.stdout and "calibration]" in done.stdout
