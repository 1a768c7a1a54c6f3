"""Run the command line, and see what it left behind."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil


def vllm_processes(state: Path) -> list[int]:
    """The pids of servers whose log lies in this state folder, living ones only."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            opened = [file.path for file in process.open_files()]
        except psutil.Error:
            continue
        if any(path.startswith(str(state)) for path in opened) and "vllm" in " ".join(words):
            found.append(process.pid)
    return found


def clean(state: Path) -> bool:
    return not vllm_processes(state) and not list((state / "servers").glob("*.json"))


def cli(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rerank_kit", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload]


def end_all(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL, and wait. Some may end by themselves at this very moment."""
    found = list(processes)
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(found, timeout=30)


def free_ports(count: int) -> list[int]:
    """Different ones: two calls of machine.free_port() may give the same port."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
