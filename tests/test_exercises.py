"""The exercise checks of notebooks 03, 07, 08 and 09: right answers pass, near misses get a hint,
and no hint gives the answer away."""

from __future__ import annotations

import pytest

from rerank_kit import exercises, memory, models
from rerank_kit.exercises import PASS
from rerank_kit.exercises.tune import SYMPTOMS
from rerank_kit.server.clinic import cases
from rerank_kit.tuning.limit import Limit, flops_per_pair

CARDS = {"student": "Laptop 8 GB", "teacher": "T4", "engineer": "A10"}
A10, T4 = memory.device_named("A10"), memory.device_named("T4")
SLICE = memory.device_named("A100 MIG 1g.10gb")
NEIGHBOUR = "Qwen/Qwen3-Embedding-4B"
EXAM = {1: "kv_cache_too_small", 2: "disk_full", 3: "host_oom", 4: "gpu_busy"}


def test_kv_cache_of_one_pair() -> None:
    check = exercises.check_kv_of_one_pair
    assert check(4.5) == PASS
    for wrong, word in ((4.5 * 2**30, "bytes"), (4.83, "GB"), (2.25, "half"), (0.0, "first")):
        assert check(wrong).startswith("hint") and word in check(wrong), wrong


def test_the_largest_model_that_fits() -> None:
    check = exercises.check_largest_that_fits
    assert check({"student": "0.6B", "teacher": "4B", "engineer": "8B"}, CARDS) == PASS
    assert "teacher" in check({"student": "0.6B", "teacher": "0.6B", "engineer": "8B"}, CARDS)
    assert "student" in check({"student": "4B", "teacher": "4B", "engineer": "8B"}, CARDS)
    assert "student" in check({"student": "small"}, CARDS)


@pytest.mark.parametrize(("answer", "good"), [("4B", True), ("8B", False), ("0.6B", False)])
def test_beside_another_server(answer: str, good: bool) -> None:
    assert (exercises.check_beside(answer, NEIGHBOUR, A10) == PASS) is good
    assert exercises.check_beside("big", NEIGHBOUR, A10).startswith("hint")


@pytest.mark.parametrize(
    ("options", "word"),
    [({"quantization": "fp8"}, PASS), ({"quantization": "awq"}, PASS), ({}, "missing"),
     ({"quantization": "int3"}, "no quantisation"), ({"steps": 3}, "no option"),
     ({"max_model_len": 10**6}, "at most")],
)  # fmt: skip
def test_options_that_fit(options: dict[str, object], word: str) -> None:
    assert word in exercises.check_options_fit(options, "8B", T4)


def test_the_longest_pair() -> None:
    said = {length: exercises.check_longest_pair(length, SLICE) for length in (1024, 2048, 4096)}
    assert said[2048] == PASS
    assert "longer" in said[1024] and "lower" in said[4096]
    assert exercises.check_longest_pair(3000, SLICE).startswith("hint")


def test_first_remedies() -> None:
    right = {
        "dies while loading the weights": "--quantization",
        "dies in the first big step": "--max-num-batched-tokens",
        "cannot hold one text of full length": "--max-model-len",
        "an hour ago it worked": "nvidia-smi",
    }
    assert exercises.check_first_remedies(right) == PASS
    for complaint, remedy in right.items():
        said = exercises.check_first_remedies(right | {complaint: "--enforce-eager"})
        assert said.startswith("hint") and remedy not in said


def test_the_line_of_the_cause() -> None:
    patient = cases("long")[1]
    said = [exercises.check_cause_line(line, patient) for line in range(1, 13)]
    assert said.count(PASS) == 1 and said[7] == PASS
    assert "wrapper" in said[3] and "wrapper" in said[11] and "went on" in said[1]
    assert exercises.check_cause_line(0, patient).startswith("hint")
    assert exercises.check_cause_line(99, patient).startswith("hint")


def test_the_exam() -> None:
    assert exercises.check_families(EXAM) == PASS
    for number, family in EXAM.items():
        said = exercises.check_families(EXAM | {number: "gpu_oom_load"})
        assert f"patient {number}" in said and family not in said


@pytest.mark.parametrize(
    ("length", "word"), [(20272, PASS), (19968, PASS), (40960, "more"), (4096, "higher")]
)
def test_the_length_that_the_cache_holds(length: int, word: str) -> None:
    assert word in exercises.check_length_for_cache(length)


def test_the_exercises_of_notebook_07() -> None:
    machine = Limit(400e9, "bfloat16", "two cores")
    facts = models.facts_of("0.6B")
    right = 400e9 / flops_per_pair(facts, 128, 64)
    most = exercises.check_most_pairs
    assert most(right, machine, 128, 64) == PASS
    assert "cached" in most(400e9 / flops_per_pair(facts, 128), machine, 128, 64)
    assert "turn it round" in most(1 / right, machine, 128, 64)
    assert most(50.0, machine, 128, 64).startswith("hint")
    price = exercises.check_price
    assert price(1000 * 20 / 40 / 3600 * 1.5, 1.5, 40, 20) == PASS
    for wrong, word in ((20 / 40 / 3600 * 1.5, "one query"), (1000 / 40 / 3600 * 1.5, "documents"),
                        (7.0, "hour")):  # fmt: skip
        assert word in price(wrong, 1.5, 40, 20)
    answers = dict(zip(SYMPTOMS, ("--block-size", "--max-num-batched-tokens",
                                  "--renderer-num-workers", "none"), strict=True))  # fmt: skip
    assert exercises.check_first_settings(answers) == PASS
    first = next(iter(answers))
    assert first in exercises.check_first_settings(answers | {first: "none"})
    assert "no answer" in exercises.check_first_settings({})
