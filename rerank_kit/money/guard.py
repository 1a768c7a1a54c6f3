"""The guard: a small process of its own that counts money, warns, and ends what costs it.

    python -m rerank_kit.money.guard          # started by guard_control, not by people

It outlives kernels, notebooks and terminals. A keeper starts the watcher again when it dies;
what was counted is on the disk.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import psutil
import requests

from rerank_kit import registry
from rerank_kit.money import guard_files as files
from rerank_kit.money.guard_files import GuardState
from rerank_kit.money.limits import Budget, PaidTime, uptime, what_is_due
from rerank_kit.money.meter import money
from rerank_kit.server.server import stop_record

POLL_SECONDS = 1.0
ACTIVITY_POLL_SECONDS = 5.0
#: A power-off that works takes the machine away within this time.
POWER_OFF_SECONDS = 60.0
POWER_OFF_TRIES = 3
_DONE_REQUESTS = re.compile(r"^vllm:request_success_total\{[^}]*\} ([\d.e+]+)$", re.MULTILINE)
_OPEN_REQUESTS = re.compile(
    r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} ([\d.e+]+)$", re.MULTILINE
)


def keep() -> int:
    """Hold the guard's lock and keep a watcher alive until it ends by itself."""
    import fcntl  # not on Windows, where no guard runs

    files.folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(files.lock_path(), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0  # another guard is on duty; it reads the new budget
    while True:
        command = [sys.executable, "-m", "rerank_kit.money.guard", "--watch"]
        if subprocess.call(command, pass_fds=(lock,)) == 0:
            return 0
        time.sleep(POLL_SECONDS)  # it crashed or was killed: the next one goes on counting


def watch() -> int:
    """Count, warn, act. Returns 0 when there is nothing left to do."""
    state = files.read_state()
    state.pid, state.created = os.getpid(), psutil.Process().create_time()
    paid = PaidTime(state.counted_seconds, state.life, state.uptime_seconds)
    activity = Activity()
    while True:
        budget = files.read_budget()
        if budget is None or files.off_path().exists():
            return _end(state, files.OFF, "the guard was switched off")
        life, up = uptime()
        paid.advance(life, up)
        state.counted_seconds, state.life, state.uptime_seconds = paid.seconds, life, up
        if budget.idle_minutes:
            state.idle_seconds = activity.idle_seconds(up, limit_seconds=budget.idle_minutes * 60)
        else:
            state.idle_seconds = 0.0
        due = what_is_due(budget, paid.seconds, state.idle_seconds, state.warned_percent)
        state.spent, state.percent, state.reason = due.spent, due.percent, due.reason
        for mark in due.warnings:
            state.warned_percent = mark
            spent = money(due.spent, budget.currency)
            state.say(f"{mark} % of the budget is spent: {spent} of "
                      f"{money(budget.limit, budget.currency)}")  # fmt: skip
        if due.reason and budget.on_limit == "warn":
            return _end(state, files.DONE, f"{due.reason}: only a warning was asked for")
        if due.reason:
            return _count_down_and_act(budget, state)
        state.state, state.action_in_seconds = files.WATCHING, None
        state.save()
        time.sleep(POLL_SECONDS)


class Activity:
    """When was a server of ours last asked for a score? Health checks do not count."""

    def __init__(self) -> None:
        self._last_seen: float | None = None
        self._asked_at = float("-inf")
        self._done: dict[int, float] = {}

    def idle_seconds(self, now: float, *, limit_seconds: float) -> float:
        """Seconds since the last request. At the limit it looks anew: the look before may have
        failed because the server was busy."""
        if self._last_seen is None:
            self._last_seen = now
        at_the_limit = now - self._last_seen >= limit_seconds
        if at_the_limit or now - self._asked_at >= ACTIVITY_POLL_SECONDS:
            self._asked_at = now
            if any([self._is_active(record) for record in registry.living()]):  # ask them all
                self._last_seen = now
        return now - self._last_seen

    def _is_active(self, record: registry.ServerRecord) -> bool:
        if record.state != "ready":
            return True  # it is being started
        try:
            text = requests.get(f"{record.url}/metrics", timeout=ACTIVITY_POLL_SECONDS).text
        except requests.RequestException:
            return False
        done = sum(float(number) for number in _DONE_REQUESTS.findall(text))
        still_open = sum(float(number) for number in _OPEN_REQUESTS.findall(text))
        before = self._done.get(record.pid)
        self._done[record.pid] = done
        return still_open > 0 or (before is not None and done != before)


def what_would_be_done(budget: Budget) -> list[str]:
    """In words, in order: the dry run."""
    if budget.on_limit == "warn":
        return ["write a warning into the log, touch nothing"]
    words = [
        f"stop the server at {record.url} ({record.served_name}, pid {record.pid})"
        for record in registry.living()
    ] or ["stop the servers that run then (now there is none)"]
    if budget.on_limit == "poweroff":
        words.append(f"run: {' '.join(budget.power_off_command)}")
    return words


def _count_down_and_act(budget: Budget, state: GuardState) -> int:
    state.say(f"{state.reason}. In {budget.countdown_seconds:.0f} seconds: "
              f"{'; '.join(what_would_be_done(budget))}. "
              "To prevent it: rerank-kit budget --cancel")  # fmt: skip
    deadline = time.monotonic() + budget.countdown_seconds
    while True:
        left = deadline - time.monotonic()
        state.state, state.action_in_seconds = files.COUNTDOWN, max(0.0, left)
        state.save()
        if files.cancel_path().exists():
            return _end(state, files.CANCELLED, "cancelled by you; the guard is off now")
        if files.off_path().exists():
            return _end(state, files.OFF, "the guard was switched off")
        if left <= 0:
            break
        time.sleep(min(0.5, left))
    survivors = _stop_servers(state)
    if budget.on_limit == "poweroff":
        return _power_off(budget, state)
    if survivors:
        return _end(state, files.FAILED, "something still runs and costs money: look at it")
    return _end(state, files.DONE, "the servers are stopped. The RENTED MACHINE still runs "
                "and costs money until you switch it off")  # fmt: skip


def _stop_servers(state: GuardState) -> bool:
    """Stop all servers of ours; True when something of them survived."""
    survivors = False
    for record in registry.living():
        report = stop_record(record)
        survivors |= bool(report.survivors)
        state.say(f"{record.url}: {report.details}")
    return survivors


def _power_off(budget: Budget, state: GuardState) -> int:
    for number in range(1, POWER_OFF_TRIES + 1):
        state.say(f"powering off ({number}): {' '.join(budget.power_off_command)}")
        state.save()
        try:
            done = subprocess.run(
                budget.power_off_command, capture_output=True, text=True, errors="replace",
                timeout=POWER_OFF_SECONDS, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            state.say(f"that failed: {error}")
        else:
            said = " ".join((done.stdout + done.stderr).split())[-300:]
            state.say(f"exit status {done.returncode}{': ' + said if said else ''}")
            if done.returncode == 0:
                return _end(state, files.DONE, "the machine was told to power off")
        time.sleep(POLL_SECONDS)
    return _end(state, files.FAILED, "THE MACHINE IS STILL ON AND COSTS MONEY: switch it off in "
                "the provider's console")  # fmt: skip


def _end(state: GuardState, how: str, words: str) -> int:
    state.say(words)
    state.state, state.action_in_seconds, state.pid = how, None, 0
    state.save()
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(watch() if "--watch" in sys.argv else keep())
