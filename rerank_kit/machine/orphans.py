"""Engines of vLLM whose server is gone: they wait for orders for ever and keep their memory.

The kit's own servers take their engines along (end_with_main.py); `vllm serve` by hand does not
when it is killed with SIGKILL, as the system's out-of-memory killer does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from rerank_kit.models import GIB

#: How vLLM names its processes (0.11 and newer): VLLM::EngineCore, VLLM::Worker_TP0.
_TITLE = "VLLM::"
#: What a living engine's parent is: the server, an engine, or a program that uses vLLM.
_PARENTS = ("python", "vllm", "ray", "uv")
#: An engine may outlive its server for a moment and is none that is left: end_with_main.py gives
#: it 3 seconds, and a busy machine takes a while to give its memory back.
SETTLE_SECONDS = 10.0
_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Orphan:
    """A process of vLLM without its server. gib: main memory that ending it gives back."""

    pid: int
    title: str
    gib: float


def orphans(settle_seconds: float = SETTLE_SECONDS) -> list[Orphan]:
    """What is left of servers that were killed; processes of other users are not seen.

    Where there are any, it looks again until settle_seconds are over: one that ends by itself
    meanwhile is none. At once where there are none.
    """
    deadline = time.monotonic() + settle_seconds
    found = _now()
    while found and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        known = {one.pid for one in found}
        found = [one for one in _now() if one.pid in known]
    return found


def _now() -> list[Orphan]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.name().startswith(_TITLE) and _is_orphan(process):
                title = (process.cmdline() or [process.name()])[0]
                held = process.memory_info()
                if held.rss > 0:  # else it has given its memory back already, and ends
                    found.append(Orphan(process.pid, title, (held.rss - held.shared) / GIB))
        except psutil.Error:
            continue
    return found


def _is_orphan(process: psutil.Process) -> bool:
    if process.status() == psutil.STATUS_ZOMBIE:
        return False
    parent = process.parent()
    if parent is None:
        return True
    words = " ".join([parent.name(), *parent.cmdline()[:3]]).lower()
    return not any(word in words for word in _PARENTS)
