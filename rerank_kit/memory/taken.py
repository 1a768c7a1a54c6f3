"""The main memory that a server's processes take, as the system counts it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import psutil

from rerank_kit.models import GIB


def main_memory_gib(processes: Iterable[psutil.Process]) -> float:
    """GiB that these processes need together: a page that several of them share counts once, and
    it counts in full whoever else on this machine shares it.

    The system's own "proportional" memory (PSS) divides the pages of a library among all the
    programs that have it open: the same server then measures less as soon as another one runs
    beside it (seen: 1.53 GiB alone, 1.38 GiB beside two others). Processes that end meanwhile
    are left out. On other systems than Linux: the sum of their resident memory.
    """
    own = 0
    shared: dict[str, int] = defaultdict(int)
    for process in processes:
        try:
            for path, kept, common in _mappings(process):
                own += kept
                shared[path] = max(shared[path], common)
        except psutil.Error:
            continue
    return (own + sum(shared.values())) / GIB


def _mappings(process: psutil.Process) -> list[tuple[str, int, int]]:
    """(file or kind of memory, bytes of this process's own, bytes that others can share)."""
    if not psutil.LINUX:
        return [("", process.memory_info().rss, 0)]
    found = []
    for mapping in process.memory_maps():
        own = mapping.private_dirty
        if not mapping.path.startswith("/"):  # not of a file: what is private now stays private
            own += mapping.private_clean
        found.append((mapping.path, own, mapping.rss - own))
    return found
