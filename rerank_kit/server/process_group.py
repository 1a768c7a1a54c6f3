"""End a whole process group, and prove that it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

import psutil

from rerank_kit.registry import process_is_running

#: vLLM ends itself within a second of SIGTERM when healthy; a failed start was seen to need a
#: second SIGTERM after its engine had died (SERVING.md section 9).
TERM_ROUNDS_SECONDS = (8.0, 4.0)
KILL_SECONDS = 15.0  # the kernel needs a while to give back the memory of a large one


def members(group: int) -> list[psutil.Process]:
    """The living processes of a group, children that left the group included."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter() if group else ():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if os.getpgid(process.pid) == group:
                found[process.pid] = process
                for child in process.children(recursive=True):
                    if child.status() != psutil.STATUS_ZOMBIE:
                        found[child.pid] = child
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return list(found.values())


def listens(group: int, port: int) -> bool:
    """True when a process of the group listens on the TCP port. That something answers there
    proves nothing: two people on one machine may have chosen the same port."""
    for process in members(group):
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                return True
    return False


def end_group(group: int, also: Sequence[psutil.Process] = ()) -> list[int]:
    """SIGTERM, again if needed, then SIGKILL. Returns the pids that survived all of it.

    The group must be one of our own servers': the caller has checked pid and start time. group 0
    is none at all. also: processes that are known to be of the server, wherever they are.
    """
    ours = list({process.pid: process for process in [*members(group), *also]}.values())
    for seconds in TERM_ROUNDS_SECONDS:
        _signal(ours, signal.SIGTERM)
        ours = _wait_gone(group, ours, seconds)
        if not ours:
            return []
    _signal(ours, signal.SIGKILL)
    return [process.pid for process in _wait_gone(group, ours, KILL_SECONDS)]


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)  # psutil refuses a pid that was reused meanwhile
        except psutil.NoSuchProcess:
            continue


def _wait_gone(group: int, known: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until nothing of the group or of the known processes lives; return what does."""
    deadline = time.monotonic() + seconds
    while True:
        reap_children()
        both = [*known, *members(group)]
        alive = {process.pid: process for process in both if process_is_running(process)}
        if not alive or time.monotonic() > deadline:
            return list(alive.values())
        time.sleep(0.1)


_children: dict[int, subprocess.Popen[bytes]] = {}
_exit_statuses: dict[int, int] = {}


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Remember a child of ours so that it is reaped instead of staying a zombie."""
    _children[child.pid] = child


def reap_children() -> None:
    """Collect the exit status of our ended children."""
    for pid, child in list(_children.items()):
        status = child.poll()
        if status is not None:
            _exit_statuses[pid] = status
            del _children[pid]


def exit_status(pid: int) -> int | None:
    """How a child of ours ended: -9 means that the system killed it. None when not known."""
    reap_children()
    return _exit_statuses.get(pid)
