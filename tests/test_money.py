"""The meter, and a guard that really ends things: real processes, real time, small limits."""

from __future__ import annotations

import contextlib
import doctest
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from processes import clean, cli, wait_until

from rerank_kit import Server, errors, launch, machine, money, registry
from rerank_kit.money import guard, guard_files, limits, meter, providers
from rerank_kit.money.limits import Budget, PaidTime, what_is_due

#: One unit of money a second: a limit of 3 is reached after three seconds.
FAST = 3600.0


@pytest.fixture
def guarded(own_state: Path) -> Iterator[Path]:
    yield own_state
    money.stop_guard()
    assert not guards_of(own_state)


def guards_of(state: Path) -> list[psutil.Process]:
    """The guard's processes whose log lies in this state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if "rerank_kit.money.guard" in process.cmdline():
                if process.environ().get("RERANK_KIT_STATE_DIR") == str(state):
                    found.append(process)
        except psutil.Error:
            continue
    return found


def kill_guards(state: Path) -> None:
    """Keeper and watcher, until none is left: a keeper that lives a moment longer than its watcher
    starts another one."""

    def none_left() -> bool:
        found = guards_of(state)
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return not found

    wait_until(none_left, 180)


def state_is(*wanted: str) -> Callable[[], bool]:
    return lambda: guard_files.read_state().state in wanted


def test_examples_in_docstrings() -> None:
    for module in (meter, limits):
        assert doctest.testmod(module).failed == 0


def test_the_meter_counts_in_the_learners_price() -> None:
    counted = money.Meter(6.0, "CNY", started_at=time.time() - 1800)
    assert counted.spent() == pytest.approx(3.0, abs=0.01)
    with counted.step("launch"):
        time.sleep(0.05)
    assert counted.steps[0].cost == pytest.approx(counted.steps[0].seconds / 600, rel=0.01)
    assert "CNY" in str(counted) and "launch" in str(counted)
    assert 0 < meter.machine_started_at() <= time.time()


@pytest.mark.parametrize("price", [0, -1, float("nan"), "2", None, True])
def test_a_price_that_is_none_is_refused(price: object) -> None:
    with pytest.raises(errors.InputError):
        money.Meter(price)  # type: ignore[arg-type]
    with pytest.raises(errors.InputError):
        Budget(price, 1.0)  # type: ignore[arg-type]


def test_warnings_come_once_each_and_the_limit_has_a_reason() -> None:
    budget = Budget(10.0, 10.0, "CNY", idle_minutes=30)
    assert what_is_due(budget, 1700, 0, 0).warnings == ()
    assert what_is_due(budget, 1801, 0, 0).warnings == (50,)
    assert what_is_due(budget, 3000, 0, 0).warnings == (50, 80)
    assert what_is_due(budget, 3000, 0, 50).warnings == (80,)
    assert what_is_due(budget, 3600, 0, 80).warnings == (100,)
    assert what_is_due(budget, 3599, 0, 80).reason == ""
    assert "10.00 CNY is spent" in what_is_due(budget, 3601, 0, 100).reason
    assert what_is_due(budget, 60, 1801, 0).reason == "no request for 30 minutes"


def test_paid_time_survives_sleep_crashes_and_restarts() -> None:
    paid = PaidTime(100.0, "first", 50.0)
    paid.advance("first", 60.0)
    assert paid.seconds == 110.0
    paid.advance("first", 4000.0)  # the machine slept, or the guard was dead: it was paid
    assert paid.seconds == 4050.0
    paid.advance("second", 30.0)  # switched off and on again: the time between was not
    assert paid.seconds == 4080.0
    paid.advance("second", 20.0)  # a reading cannot take money back
    assert paid.seconds == 4080.0


def test_uptime_is_that_of_this_machine_and_grows() -> None:
    life, first = limits.uptime()
    again, second = limits.uptime()
    assert life == again and 0 < first <= second
    assert first == pytest.approx(time.time() - meter.machine_started_at(), abs=60)


def test_a_guard_powers_off_by_the_command_it_was_given(guarded: Path, tmp_path: Path) -> None:
    stand_in = tmp_path / "power-off"
    stand_in.write_text(f"#!/bin/sh\necho \"$@\" >> '{tmp_path}/called'\n", encoding="utf-8")
    stand_in.chmod(0o755)
    budget = Budget(FAST, 2, on_limit="poweroff", countdown_seconds=1,
                    power_off_command=(str(stand_in), "now", "a b"))  # fmt: skip
    assert money.start_guard(budget, paid_hours=0).is_alive
    wait_until(state_is(guard_files.DONE), 180)
    assert (tmp_path / "called").read_text() == "now a b\n"
    said = " ".join(guard_files.read_state().messages)
    for words in ("50 %", "80 %", "100 %", "In 1 seconds", "powering off", "told to power off"):
        assert words in said
    assert guard_files.log_path().stat().st_mode & 0o077 == 0


def test_a_power_off_that_fails_is_tried_again_and_then_said_loudly(guarded: Path) -> None:
    budget = Budget(FAST, 1, on_limit="poweroff", countdown_seconds=0,
                    power_off_command=("false",))  # fmt: skip
    money.start_guard(budget, paid_hours=0)
    wait_until(state_is(guard_files.FAILED), 180)
    messages = guard_files.read_state().messages
    assert sum("powering off" in line for line in messages) == 3
    assert "STILL ON" in messages[-1]


def test_a_countdown_can_be_cancelled(guarded: Path, tmp_path: Path) -> None:
    called = tmp_path / "called"
    budget = Budget(FAST, 1, on_limit="poweroff", countdown_seconds=600,
                    power_off_command=("touch", str(called)))  # fmt: skip
    money.start_guard(budget, paid_hours=0)
    wait_until(state_is(guard_files.COUNTDOWN), 180)
    asked = cli("budget", "--json")
    assert asked.returncode == 0 and json.loads(asked.stdout)["action_in_seconds"] > 500
    assert cli("budget", "--cancel").returncode == 0
    assert guard_files.read_state().state == guard_files.CANCELLED
    assert not called.exists()
    assert cli("budget", "--cancel").returncode == 2  # nothing left to cancel


def test_a_dry_run_says_what_would_be_run_and_starts_nothing(guarded: Path) -> None:
    words = ("budget", "--price-per-hour", "2", "--limit", "1", "--on-limit", "poweroff")
    refused = cli(*words, "--dry-run")
    assert refused.returncode == 2 and "powered off" in refused.stderr
    done = cli(*words, "--power-off-command", "shutdown -h now", "--dry-run")
    assert done.returncode == 0 and "run: shutdown -h now" in done.stdout
    assert not guards_of(guarded)
    off = cli("budget")
    assert off.returncode == 1 and "nothing watches" in off.stdout


def test_every_provider_has_a_source_and_a_date() -> None:
    for provider in providers.providers().values():
        assert provider.inside in ("yes", "token", "no")
        assert provider.source and re.fullmatch(r"20\d\d-\d\d-\d\d", provider.checked)
        assert provider.how in ("documentation", "reported")
        assert bool(provider.command) == (provider.inside != "no")
        assert provider.words.endswith((".", "!")) and provider.still_costs
        assert all(sign.split(":")[0] in ("env", "file", "dmi") for sign in provider.signs)


def test_a_cloud_is_recognised_and_its_own_way_is_used(tmp_path: Path) -> None:
    pod = providers.provider_here({"RUNPOD_POD_ID": "abc 1"}, tmp_path)
    assert pod is not None and pod.name == "runpod"
    assert pod.power_off_command({"RUNPOD_POD_ID": "abc 1"})[-1] == "abc 1"
    with pytest.raises(errors.InputError, match="RUNPOD_POD_ID"):
        pod.power_off_command({})
    (tmp_path / "sys_vendor").write_text("Microsoft Corporation\n", encoding="utf-8")
    (tmp_path / "product_name").write_text("Virtual Machine\n", encoding="utf-8")
    azure = providers.provider_here({}, tmp_path)
    assert azure is not None and azure.name == "azure"
    with pytest.raises(errors.InputError, match="ends the billing at Azure"):
        azure.power_off_command()
    with pytest.raises(errors.InputError, match="no provider"):
        providers.provider_named("nowhere")


def test_the_table_of_providers_is_printed() -> None:
    done = cli("budget", "--providers")
    assert done.returncode == 0 and "AutoDL" in done.stdout and "still costs" in done.stdout
    assert len(json.loads(cli("budget", "--providers", "--json").stdout)["providers"]) > 8


def test_a_second_guard_only_changes_the_budget(guarded: Path) -> None:
    first = money.start_guard(Budget(1.0, 1000.0), paid_hours=1)
    second = money.start_guard(Budget(1.0, 2000.0))
    assert second.pid == first.pid
    wait_until(lambda: 0 < guard_files.read_state().percent < 0.06, 180)
    # One keeper, one watcher. A child that is just being started looks like its parent.
    wait_until(lambda: len(guards_of(guarded)) == 2, 60)


def test_a_killed_guard_comes_back_and_has_forgotten_nothing(guarded: Path) -> None:
    first = money.start_guard(Budget(1.0, 1000.0), paid_hours=5)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: guard_files.read_state().pid not in (0, first.pid), 180)
    second = guard_files.read_state()
    assert second.is_alive and second.counted_seconds >= 5 * 3600
    kill_guards(guarded)
    third = money.guard_state()
    assert third.is_alive and third.counted_seconds >= second.counted_seconds


def test_the_guard_outlives_the_process_that_started_it(guarded: Path) -> None:
    words = [sys.executable, "-m", "rerank_kit", "budget", "--price-per-hour", "1", "--limit", "99"]
    subprocess.run(words, check=True, capture_output=True, timeout=300)
    assert guard_files.read_state().is_alive
    assert cli("budget", "--off").returncode == 0
    assert not guards_of(guarded)


def test_status_and_stop_tell_of_a_guard_that_runs(guarded: Path) -> None:
    assert "guard" not in cli("status").stdout
    assert json.loads(cli("stop", "--json").stdout)["guard"] is None
    # So little an hour that the time which this test takes is not seen in the sum.
    money.start_guard(Budget(0.01, 200.0, "CNY", idle_minutes=30), paid_hours=10_000)
    wait_until(lambda: guard_files.read_state().percent > 49, 180)
    said = cli("status").stdout
    assert "100.00 CNY of 200.00 CNY spent (50 %)" in said
    assert "at the limit, or after 30 idle minutes, it stops the servers" in said
    facts = json.loads(cli("status", "--json").stdout)["guard"]
    assert facts["alive"] and facts["limit"] == 200.0 and facts["on_limit"] == "stop"
    assert "still on duty: guard" in cli("stop").stdout
    kill_guards(guarded)
    assert "IT HAS DIED" in cli("status").stdout
    assert json.loads(cli("status", "--json").stdout)["guard"]["alive"] is False


@pytest.mark.full
def test_a_spent_budget_stops_a_real_server_whose_kernel_is_dead(guarded: Path) -> None:
    code = "from rerank_kit import launch; import os; launch('practice'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], timeout=300)
    (record,) = registry.living()
    assert record.state == "ready"
    money.start_guard(Budget(FAST, 2, countdown_seconds=1), paid_hours=0)
    wait_until(state_is(guard_files.DONE, guard_files.FAILED), 180)
    assert guard_files.read_state().state == guard_files.DONE
    assert not record.is_alive() and clean(guarded)
    assert "RENTED MACHINE still runs" in guard_files.read_state().messages[-1]


def test_one_look_that_fails_does_not_make_a_busy_server_idle(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.record is not None
    monkeypatch.setenv("RERANK_KIT_STATE_DIR", str(tmp_path))
    there = replace(server.record)
    there.save()
    activity = guard.Activity()
    assert activity.idle_seconds(0.0, limit_seconds=6) == 0
    server.reranker().score([("a", "b")])
    replace(there, url=f"http://127.0.0.1:{machine.free_port()}").save()
    assert activity.idle_seconds(5.0, limit_seconds=6) == 5
    there.save()
    assert activity.idle_seconds(6.0, limit_seconds=6) == 0
    assert activity.idle_seconds(12.0, limit_seconds=6) == 6  # and nothing since then


@pytest.mark.full
def test_an_idle_server_is_stopped_and_a_busy_one_is_not(guarded: Path) -> None:
    running = launch("practice", owner_is_terminal=True)
    reranker = running.reranker()
    money.start_guard(Budget(0.01, 1000.0, idle_minutes=0.3, countdown_seconds=1))
    busy_until = time.monotonic() + 40  # more than twice the idle limit
    while time.monotonic() < busy_until:
        reranker.score([("a", "b")])
        assert guard_files.read_state().state == guard_files.WATCHING
        time.sleep(1)
    wait_until(state_is(guard_files.DONE, guard_files.FAILED), 180)
    assert "no request" in " ".join(guard_files.read_state().messages)
    assert running.record is not None and not running.record.is_alive() and clean(guarded)
