"""Which setting is tried first when memory is short: the one that costs least."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rerank_kit import errors
from rerank_kit.machine import Gpu
from rerank_kit.server import ladder, recovery, stalls
from rerank_kit.server.ladder import Situation, cures
from rerank_kit.server.recovery import Attempt, Remedy, changed, launch_with_remedies
from rerank_kit.server.remedies import Fix
from rerank_kit.server.settings import ServerSettings
from rerank_kit.server.verdict import Diagnosis


def card(index: int = 0, free: float = 22.0) -> Gpu:
    return Gpu(index, "NVIDIA A10", 22.5, free, "580.65.06", 8.6)


def settings(model: str = "Qwen/Qwen3-Reranker-4B", **changes: object) -> ServerSettings:
    made = ServerSettings("gpu", model, model, "bfloat16", 8192, 8192, 3 * 2**30)
    return replace(made, **changes)  # type: ignore[arg-type]


def found(family: str, *fixes: Fix) -> Diagnosis:
    return Diagnosis(family, "certain", "warmup", f"It is {family}", "because", (), fixes)


def flags(fixes: list[Fix]) -> list[str]:
    return [fix.change.split(" ")[0] for fix in fixes]


def test_the_ladder_goes_from_no_loss_to_quality() -> None:
    one = Situation(settings(), (card(), card(1)), model_is_free=True)
    assert flags(cures(found("gpu_oom_warmup"), one)) == [
        "--kv-cache-memory-bytes", "--tensor-parallel-size", "--max-num-batched-tokens",
        "--max-num-seqs", "--enforce-eager", "--quantization", "--max-model-len", "--model",
    ]  # fmt: skip


def test_the_diagnosis_numbers_win_over_the_ladders_and_keep_their_place() -> None:
    own = Fix("setting", "--max-num-batched-tokens 512", "the log says so")
    sized = cures(found("gpu_oom_warmup", own), Situation(settings(), (card(),)))
    assert [fix for fix in sized if "batched" in fix.change] == [own]
    assert flags(sized).index("--max-num-batched-tokens") == 1  # after the cache only


def test_a_second_card_is_taken_only_when_it_is_idle_and_divides_the_model() -> None:
    def second(situation: Situation) -> bool:
        return "--tensor-parallel-size" in flags(cures(found("gpu_oom_load"), situation))

    assert second(Situation(settings(), (card(), card(1))))
    assert not second(Situation(settings(), (card(),)))
    assert not second(Situation(settings(), (card(), card(1, free=3.0))))
    split = settings(extra_args=("--tensor-parallel-size", "2"))
    assert not second(Situation(split, (card(), card(1))))
    assert second(Situation(split, tuple(card(n) for n in range(4))))
    on_cpu = settings(profile="practice")
    assert not second(Situation(on_cpu, (card(), card(1))))


def test_a_model_that_the_user_named_is_never_exchanged() -> None:
    named = Situation(settings(), (card(),), model_is_free=False)
    assert "--model" not in flags(cures(found("gpu_oom_load"), named))


def test_weights_that_do_not_fit_are_not_cured_by_a_smaller_cache() -> None:
    one = Situation(settings(), (card(),), model_is_free=True)
    assert flags(cures(found("gpu_oom_load"), one)) == ["--quantization", "--model"]
    again = Situation(settings(extra_args=("--quantization", "fp8_per_tensor")), (card(),))
    assert flags(cures(found("gpu_oom_load"), again)) == []


def test_steps_end_where_they_bring_nothing_more() -> None:
    small = settings(max_num_batched_tokens=1024, max_model_len=1024,
                     kv_cache_memory_bytes=200 * 2**20,
                     extra_args=("--max-num-seqs", "32", "--enforce-eager"))  # fmt: skip
    assert flags(cures(found("gpu_oom_runtime"), Situation(small))) == []


def test_families_that_have_nothing_to_do_with_memory_keep_their_own_fixes() -> None:
    own = Fix("setting", "--dtype half", "16 bits")
    assert cures(found("dtype_unsupported", own), Situation(settings())) == [own]
    asked = Situation(settings(extra_args=("-q", "fp8")))
    assert [fix.kind for fix in cures(found("quantization", own), asked)] == ["setting", "without"]
    on_cpu = Situation(settings(profile="cpu", extra_args=("-q", "fp8")))
    assert [fix.kind for fix in cures(found("quantization", own), on_cpu)] == ["without", "setting"]


@pytest.mark.parametrize(
    ("before", "fix", "after"),
    [
        (("-q", "fp8", "--x"), Fix("without", "--quantization", ""), ("--x",)),
        (("--quantization=fp8",), Fix("without", "--quantization", ""), ()),
        (("-tp", "4"), Fix("setting", "--tensor-parallel-size 2", ""),
         ("--tensor-parallel-size", "2")),
        (("--max-model-len", "-1"), Fix("setting", "--max-model-len 512", ""),
         ("--max-model-len", "512")),
    ],
)  # fmt: skip
def test_a_change_replaces_the_flag_in_every_spelling(
    before: tuple[str, ...], fix: Fix, after: tuple[str, ...]
) -> None:
    assert changed(Attempt(None, before), fix) == Attempt(None, after)
    assert changed(Attempt(None, ("--x",)), Fix("model", "--model 4B", "")) == (
        Attempt("4B", ("--x",))
    )


class Starts:
    """Stands for starts on a machine that we do not have: those with a certain flag succeed."""

    def __init__(self, needs: str, family: str = "gpu_oom_warmup") -> None:
        self.needs, self.family = needs, family
        self.tried: list[Attempt] = []

    def __call__(self, attempt: Attempt) -> object:
        self.tried.append(attempt)
        if self.needs not in " ".join((attempt.model or "", *attempt.arguments)):
            raise errors.LaunchError("It ended.", diagnosis=found(self.family))
        return "running"

    def recover(self, wanted: Attempt | None = None) -> list[Remedy]:
        told: list[Remedy] = []

        def situation(attempt: Attempt) -> Situation:
            return Situation(
                settings(extra_args=attempt.arguments), (card(),), model_is_free=True
            )

        launch_with_remedies(
            self, situation, "gpu on NVIDIA A10",  # type: ignore[arg-type]
            wanted or Attempt(None, ()), told.append,
        )  # fmt: skip
        return told


def test_it_goes_down_rung_by_rung_and_remembers(own_state: Path) -> None:
    starts = Starts("--enforce-eager")
    told = starts.recover()
    assert [remedy.change.split(" ")[0] for remedy in told] == [
        "--kv-cache-memory-bytes", "--max-num-batched-tokens", "--max-num-seqs", "--enforce-eager",
    ]  # fmt: skip
    assert str(told[0]).startswith("It is gpu_oom_warmup: trying again with --kv-cache-memory-by")
    kept = json.loads((own_state / "remedies.json").read_text(encoding="utf-8"))
    assert any("NVIDIA A10" in key for key in kept)
    again = Starts("--enforce-eager")
    assert len(again.recover()) == 1 and len(again.tried) == 1
    other = Starts("nothing can help")
    with pytest.raises(errors.LaunchError):
        other.recover(Attempt(None, ("--max-model-len", "4096")))  # other flags: from the start
    assert other.tried[0].arguments == ("--max-model-len", "4096")


def test_it_is_bounded_and_repeats_nothing(own_state: Path) -> None:
    starts = Starts("nothing can help")
    with pytest.raises(errors.LaunchError):
        starts.recover()
    assert len(starts.tried) == len(set(starts.tried)) <= recovery.MOST_REMEDIES + 1
    assert not (own_state / "remedies.json").exists()


def test_what_helped_before_and_is_refused_now_is_given_up(own_state: Path) -> None:
    """After an upgrade the remembered flag may not exist any more."""
    Starts("--kv-cache-memory-bytes").recover()
    refused = Starts("no such flag", family="bad_argument")
    with pytest.raises(errors.LaunchError):
        refused.recover()
    assert refused.tried[-1] == Attempt(None, ())


def test_loading_may_take_as_long_as_the_slowest_disk_needs() -> None:
    small, large = (
        stalls.busy_limit_seconds("loading the weights", f"Qwen/Qwen3-Reranker-{size}")
        for size in ("0.6B", "8B")
    )
    assert 300 < small < 400 and 1000 < large < 1300
    assert stalls.busy_limit_seconds("opening the port", "anything") == stalls.OTHER_BUSY_SECONDS


def activity(at: float, **changes: object) -> stalls.Activity:
    still = stalls.Activity(at, 1000, frozenset({1}), 10.0, 10**6, False)
    return replace(still, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "moved", "computed"),
    [
        ({}, False, False),
        ({"cpu_seconds": 10.1}, False, False),  # wakes up to look at the clock
        ({"cpu_seconds": 12.0}, False, True),
        ({"log_bytes": 1001}, True, False),
        ({"pids": frozenset({1, 2})}, True, False),
        ({"io_bytes": 10**6 + 50_000}, False, False),
        ({"io_bytes": 10**7}, True, False),
    ],
)
def test_what_counts_as_progress(changes: dict, moved: bool, computed: bool) -> None:
    later = activity(30.0, **changes)
    assert later.moved_since(activity(0.0)) is moved
    assert later.computed_since(activity(0.0)) is computed


def test_every_rung_is_in_the_order_of_cost() -> None:
    assert set(ladder.RUNGS) <= set(ladder.COST)
    for rungs in ladder.MEMORY_FAMILIES.values():
        assert set(rungs) <= set(ladder.COST)
