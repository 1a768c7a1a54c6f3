"""Start the guard, ask it, cancel its countdown, switch it off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from rerank_kit.errors import InputError, SetupError
from rerank_kit.money import guard_files as files
from rerank_kit.money.guard_files import GuardState
from rerank_kit.money.limits import Budget, uptime
from rerank_kit.money.meter import SECONDS_PER_HOUR

#: Reached only where something is wrong; on a busy machine two Pythons take long to start.
START_SECONDS = 60.0
PACKAGE_PARENT = Path(__file__).resolve().parents[2]


def start_guard(budget: Budget, *, paid_hours: float | None = None) -> GuardState:
    """Put a guard on duty, or give the one on duty this budget; returns when it watches.

    paid_hours: how long the machine has been paid for already (None: since it is up; with a
    guard on duty: what that one has counted). Raises SetupError when it does not come up.
    """
    if not sys.platform.startswith("linux"):
        raise SetupError("The guard runs on Linux: start it on the rented machine itself.")
    if paid_hours is not None and paid_hours < 0:
        raise InputError("The hours paid so far cannot be negative.")
    files.folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in (files.cancel_path(), files.off_path()):
        path.unlink(missing_ok=True)
    on_duty = files.read_state()
    if paid_hours is not None or not on_duty.is_alive:
        on_duty = stop_guard()  # it would go on from its own count, or is just ending
    files.off_path().unlink(missing_ok=True)
    files.write_budget(budget)
    if not on_duty.is_alive:
        life, up = uptime()
        seconds = up if paid_hours is None else paid_hours * SECONDS_PER_HOUR
        GuardState(files.WATCHING, counted_seconds=seconds, life=life, uptime_seconds=up).save()
        _spawn()
    return _wait_for_the_watcher()


def guard_state() -> GuardState:
    """How the guard does. One that should be on duty and died is started again first: no
    learner may believe in a guard that is not there."""
    state = files.read_state()
    if state.state in files.ARMED and not state.is_alive and files.read_budget() is not None:
        time.sleep(0.1)
        _spawn()  # harmless when its keeper is just doing the same: only one gets the lock
        state = _wait_for_the_watcher()
    return state


def cancel() -> GuardState:
    """Give up the countdown that runs, and switch the guard off. Raises InputError when there
    is no countdown."""
    if files.read_state().state != files.COUNTDOWN:
        raise InputError("No countdown is running.", hint="--off switches the guard off")
    files.cancel_path().touch(mode=0o600)
    return _wait_until_off()


def stop_guard() -> GuardState:
    """Switch the guard off; harmless when there is none."""
    if not files.lock_is_held():
        state = files.read_state()
        if state.state in files.ARMED:
            state.state = files.OFF
            state.save()
        return state
    files.off_path().touch(mode=0o600)
    return _wait_until_off()


def _spawn() -> None:
    environment = dict(os.environ)
    paths = [str(PACKAGE_PARENT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    log = os.open(files.log_path(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        subprocess.Popen(
            [sys.executable, "-m", "rerank_kit.money.guard"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            env=environment,
        )  # fmt: skip
    finally:
        os.close(log)


def _wait_for_the_watcher() -> GuardState:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        state = files.read_state()
        if state.is_alive or state.state not in files.ARMED:
            return state
        time.sleep(0.1)
    raise SetupError(
        "The guard did not come up: NOTHING watches the budget.",
        evidence=_last_words(), hint=f"read {files.log_path()}",
    )  # fmt: skip


def _wait_until_off() -> GuardState:
    """Until watcher and keeper are both gone: the lock is free again."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        state = files.read_state()
        if not state.is_alive and not files.lock_is_held():
            return state
        time.sleep(0.1)
    raise SetupError("The guard did not end.", hint=f"kill {files.read_state().pid}")


def _last_words() -> str:
    try:
        return files.log_path().read_text(encoding="utf-8", errors="replace").strip()[-200:]
    except OSError:
        return ""
