"""A state folder of its own, and every process that was started with it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from rerank_kit.server.startup import StartupReader

LIMIT_SECONDS = 900.0  # never reached where anything works, however busy the machine
#: A random moment of a start is waited for no longer than this.
MOMENT_SECONDS = 60.0
#: A vLLM whose parent died ends by itself within this time, or it is called an orphan.
OWN_END_SECONDS = 120.0
INTENT_GRACE_SECONDS = 5.0  # registry.py
LAUNCH = [sys.executable, "-m", "rerank_kit", "launch", "--profile", "practice"]


class Playground:
    """A state folder of its own, and every process that was started with it."""

    def __init__(self, state: Path, dice: random.Random) -> None:
        self.state, self.dice = state, dice
        self.environment = os.environ | {"RERANK_KIT_STATE_DIR": str(state)}
        for name in ("RERANK_URL", "RERANK_API_KEY", "RERANK_KIT_SERVER_MARK"):
            self.environment.pop(name, None)
        self.ports: set[int] = set()
        self.detail: list[str] = []
        self._started: list[subprocess.Popen[str]] = []

    # -- starting things ---------------------------------------------------------------------

    def start(self, command: list[str], **options: object) -> subprocess.Popen[str]:
        environment = {**self.environment, **options.pop("env", {})}  # type: ignore[dict-item]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True,
            stderr=subprocess.PIPE, env=environment, start_new_session=True, **options,
        )  # type: ignore[call-overload]  # fmt: skip
        self._started.append(child)
        return child

    def command(self, *words: str) -> tuple[int, dict]:
        """Run one of our commands; its JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "rerank_kit", *words, "--json"], env=self.environment,
            capture_output=True, text=True, timeout=LIMIT_SECONDS,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout or "{}")

    # -- moments -----------------------------------------------------------------------------

    def wait_for(self, what: Callable[[], object], child: subprocess.Popen[str]) -> bool:
        """False when the child ended first."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not what():
            if child.poll() is not None:
                return False
            if time.monotonic() > deadline:
                raise TimeoutError("a moment that never came")
            time.sleep(0.02)
        return True

    def random_moment(self, child: subprocess.Popen[str]) -> None:
        """Wait for some moment of the start, the early ones more often."""
        kind = self.dice.choice(["at once", "record", "record", "importing", "importing", "stage"])
        if kind == "at once":
            time.sleep(self.dice.uniform(0.0, 1.5))
        else:
            self.wait_for(self.records, child)
        if kind == "importing":
            time.sleep(self.dice.uniform(0.0, 6.0))
        if kind == "stage":
            stage = self.dice.randint(1, 3)
            latest = time.monotonic() + MOMENT_SECONDS
            self.wait_for(
                lambda: self.stage() >= stage or time.monotonic() > latest, child
            )
            kind = f"stage {stage}"
        self.detail.append(kind)

    def records(self) -> list[Path]:
        found = list((self.state / "servers").glob("*.json"))
        self.ports |= {int(path.stem) for path in found if path.stem.isdigit()}
        return found

    def stage(self) -> int:
        logs = sorted((self.state / "logs").glob("*.log"), key=lambda path: path.stat().st_mtime)
        if not logs:
            return 0
        reader = StartupReader(logs[-1], "soak")
        reader.read(0.0)
        return reader._stage

    # -- looking -----------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Everything that runs with this state folder, as /proc tells it."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("RERANK_KIT_STATE_DIR") == str(self.state)
                if not ours and not self._writes_here(process):
                    continue
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def _writes_here(self, process: psutil.Process) -> bool:
        """vLLM's engine overwrites the environment that /proc shows with its title."""
        try:
            return os.readlink(f"/proc/{process.pid}/fd/1").startswith(str(self.state))
        except OSError:
            return False

    def lost(self) -> tuple[list[str], int]:
        """(servers that `status` does not know, number that it knows)."""
        _, told = self.command("status")
        known = {server["pid"] for server in told["servers"]}
        problems = []
        for process in self.processes():
            try:
                if os.getpgid(process.pid) not in known:
                    problems.append(f"lost: pid {process.pid} {words(process)}")
            except (ProcessLookupError, psutil.Error):
                continue
        return problems, len(known)

    def end_helpers(self) -> None:
        """What the round itself has started must not be taken for something left behind."""
        for child in self._started:
            if child.poll() is None:
                child.kill()
            child.communicate(timeout=LIMIT_SECONDS)
        self._started.clear()

    def untidy(self) -> list[str]:
        """What is left after a stop."""
        deadline = time.monotonic() + 60
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        problems = [f"orphan: pid {one.pid} {words(one)}" for one in self.processes()]
        problems += [f"port {port} is not free" for port in self.ports if not is_free(port)]
        if list((self.state / "servers").glob("*.json")):
            # A launcher killed before it started anything leaves the intent, which the next look
            # after its grace removes (registry.py).
            time.sleep(INTENT_GRACE_SECONDS + 0.5)
            self.command("status")
        left = [path for path in self.state.rglob("*") if path.suffix in (".json", ".tmp")]
        keep = ("start_times.json", "remedies.json")
        problems += [f"state: {path.name}" for path in left if path.name not in keep]
        return problems

    def check(self, *, expect_nothing: bool) -> tuple[list[str], int]:
        """After a round: is everything that lives known, and is nothing left after a stop?"""
        self.end_helpers()
        self.records()
        if expect_nothing:
            deadline = time.monotonic() + OWN_END_SECONDS
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.2)
        problems, known = self.lost()
        if expect_nothing:
            problems += [f"still there: {words(one)}" for one in self.processes()]
        status, told = self.command("stop")
        if status != 0:
            problems.append(f"stop: exit {status}, {told}")
        problems += self.untidy()
        for process in self.processes():  # the next round must not pay for this one
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.ports.clear()
        return problems, known


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:120]
    except psutil.Error:
        return "(gone meanwhile)"


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
