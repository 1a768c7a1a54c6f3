"""The main memory of a server's processes, measured on the live practice server."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from rerank_kit import Server, memory, models
from rerank_kit.server import process_group

#: Opens the largest libraries of a vLLM server and reads its pages, as one more server would.
NEIGHBOUR = "import torch, triton; torch.ones(8) @ torch.ones(8); print('open'); input()"


@pytest.mark.skipif(not psutil.LINUX, reason="only Linux tells which pages are shared")
def test_a_neighbour_does_not_change_what_a_server_takes(server: Server) -> None:
    """The system's proportional memory (PSS) does change, by as much as there are others already:
    notebook 03 once failed in CI, where it ran beside other servers."""
    assert server.record is not None
    group = process_group.members(server.record.pid)
    alone = memory.main_memory_gib(group)
    neighbour = subprocess.Popen(
        [sys.executable, "-u", "-c", NEIGHBOUR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert neighbour.stdout is not None and neighbour.stdout.readline() == "open\n"
        beside = memory.main_memory_gib(group)
        in_common = pages_in_common(psutil.Process(neighbour.pid), group)
    finally:
        neighbour.communicate("\n", timeout=300)
    assert beside == pytest.approx(alone, abs=0.01)
    assert in_common / models.GIB > 0.02  # else this test would notice nothing


def pages_in_common(one: psutil.Process, others: list[psutil.Process]) -> int:
    """Bytes of the files that both have open, as far as the one has read them."""
    theirs = {mapping.path for other in others for mapping in other.memory_maps()}
    return sum(
        mapping.shared_clean for mapping in one.memory_maps()
        if mapping.path.startswith("/") and mapping.path in theirs
    )  # fmt: skip


def test_shared_pages_count_once_and_ended_processes_not_at_all(server: Server) -> None:
    assert server.record is not None
    group = process_group.members(server.record.pid)
    together = memory.main_memory_gib(group)
    resident = [one.memory_info().rss / models.GIB for one in group]
    assert max(resident) < together
    if psutil.LINUX:
        assert together < sum(resident) - 0.02
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(ended.pid)
    ended.communicate(b"\n", timeout=300)
    assert memory.main_memory_gib([process]) == 0
