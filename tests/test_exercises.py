"""The exercise checks of the notebooks from 03 on: right answers pass, near misses get a hint,
and no hint gives the answer away."""

from __future__ import annotations

import pytest

from rerank_kit import exercises, memory, models
from rerank_kit.client.long_documents import Passage
from rerank_kit.exercises import PASS
from rerank_kit.exercises.tune import SYMPTOMS
from rerank_kit.money import Budget
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


def test_verdicts_of_measurements() -> None:
    right = {letter: one.verdict for letter, one in exercises.instruction_effects().items()}
    assert sorted(right.values()) == ["helps", "hurts", "no difference shown"]
    assert exercises.check_verdicts(right) == PASS
    for letter, verdict in right.items():
        wrong = "hurts" if verdict == "helps" else "helps"
        said = exercises.check_verdicts(right | {letter: wrong})
        assert said.startswith("hint") and letter in said and verdict not in said
    assert exercises.check_verdicts({}).startswith("hint")


@pytest.mark.parametrize(
    ("query", "instruction", "word"),
    [("red shoes", "Find products", PASS), ("Query: red shoes", "Find products", "typed"),
     ("shoes", "Find products", "typed"), ("red shoes", "Instruct: Find products", "alone"),
     ("red shoes", "", "sentence")],
)  # fmt: skip
def test_a_glued_query_taken_apart(query: str, instruction: str, word: str) -> None:
    glued = "Instruct: Find products\nQuery: red shoes"
    assert word in exercises.check_taken_apart(query, instruction, glued)


def test_room_and_quotation() -> None:
    said = {room: exercises.check_room(room, 4096, 96) for room in (4000, 4096, 4001, 3999)}
    assert said.pop(4000) == PASS
    assert all(one.startswith("hint") and "4000" not in one for one in said.values())
    text, passage = "one two three", Passage(4, 7, "two", 1)
    assert exercises.check_quote("two", text, passage) == PASS
    for wrong in ("", "one", "zwei"):
        assert exercises.check_quote(wrong, text, passage).startswith("hint")


def test_paths_for_a_proxy() -> None:
    check = exercises.check_paths
    assert check({"/v1/models", "/v1/score"}) == PASS
    assert check(["/v1/models", "/v1/rerank", "/v1/score"]) == PASS
    for wrong in ({"/v1/models", "/rerank"}, {"/v1/score"}, {"/v1/models"}, set(), "/v1/score",
                  {"/v1/models", "/v1/score", "/v1/completions"}):  # fmt: skip
        assert check(wrong).startswith("hint"), wrong


@pytest.mark.parametrize(
    ("command", "word"),
    [("ssh -N -L 9000:127.0.0.1:8000 me@rented", PASS),
     ("ssh -L 127.0.0.1:9000:localhost:8000 -N me@rented", PASS),
     ("ssh -N -L 8000:127.0.0.1:9000 me@rented", "first"), ("curl x", "ssh"), ("", "ssh"),
     ("ssh -N -R 9000:127.0.0.1:8000 me@rented", "other way"), ("ssh me@rented", "-L"),
     ("ssh -N -L 0.0.0.0:9000:127.0.0.1:8000 me@rented", "whole network"),
     ("ssh -N -L 9000:rented:8000 me@rented", "loopback"), ("ssh -L 9000 me@rented", "port here"),
     ("ssh -N -L 9001:127.0.0.1:8000 me@rented", "two ports"), ("ssh 'x", "quotation"),
     ("ssh me@rented -N -L 9000:127.0.0.1:8000", "last")],
)  # fmt: skip
def test_a_tunnel_command(command: str, word: str) -> None:
    assert word in exercises.check_tunnel(command, 9000, 8000, "me@rented")
def test_shutdown_ends_the_bill() -> None:
    check = exercises.check_shutdown_ends_bill
    assert check({"aws": True, "azure": False, "vast": True, "lambda": False}) == PASS
    assert "azure" in check({"aws": True, "azure": True})


def test_a_guard_for_the_evening() -> None:
    right = {"on_limit": "stop", "idle_minutes": 20, "countdown_seconds": 300}
    check = exercises.check_evening_budget
    assert check(Budget(2.0, 6.0, **right), 2.0) == PASS  # type: ignore[arg-type]
    for limit, change, word in (
        (3.0, {}, "1.5 hours"), (6.0, {"on_limit": "warn"}, "warn"),
        (6.0, {"idle_minutes": None}, "idle"), (6.0, {"countdown_seconds": 5}, "countdown"),
    ):  # fmt: skip
        said = check(Budget(2.0, limit, **(right | change)), 2.0)  # type: ignore[arg-type]
        assert said.startswith("hint") and word in said


@pytest.mark.parametrize(
    ("speed", "word"), [(277.8, PASS), (100, "more"), (400, "faster"), (0, "than 0")]
)
def test_cheap_enough(speed: float, word: str) -> None:
    assert word in exercises.check_cheap_enough(speed)


@pytest.mark.parametrize(
    ("gpus", "word"), [(20, PASS), (21, "spare"), (7, "few"), (12, "few"), (40, "many")]
)
def test_gpus_for_a_load(gpus: int, word: str) -> None:
    assert word in exercises.check_gpus(gpus)


def test_an_arrangement_of_gpus() -> None:
    def check(*flags: str) -> str:
        return exercises.check_arrangement(flags, "8B", "T4", 4)

    assert check("--tensor-parallel-size", "2", "--data-parallel-size", "2") == PASS
    assert "share" in check("--data-parallel-size", "4")
    assert "copies" in check("--tensor-parallel-size", "2")
    assert "hint" in check()


def test_first_steps_past_one_machine() -> None:
    right = {
        "it must be twice as fast by tonight": "fewer documents",
        "it must not be away when a machine fails": "two servers",
        "the model does not fit one card": "tensor parallel",
    }
    assert exercises.check_first_steps(right) == PASS
    for wish in right:
        assert exercises.check_first_steps(right | {wish: "two routers"}).startswith("hint")


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
