"""What is broken around a start: memory, port, files, patience. Each one is mended at its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerank_kit import machine, models, registry
from rerank_kit.server import stalls
from rerank_kit.server.provoke.outcome import LeftOut
from rerank_kit.server.startup import Progress

CGROUPS = Path("/sys/fs/cgroup")
MEMORY_NODES = Path("/sys/devices/system/node")


@contextlib.contextmanager
def nothing() -> Iterator[dict[str, Any]]:
    yield {}


@contextlib.contextmanager
def address_space(gib: float) -> Iterator[dict[str, Any]]:
    """As `ulimit -v` does: this process and the server it starts may not map more. The limit
    counts address space, of which Python and torch take several times what they use."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(gib * 2**30), hard))
    try:
        yield {}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def memory_cgroup(gib: float) -> Iterator[dict[str, Any]]:
    """As a container's memory limit: the server that is started, and it alone, is put into a
    control group of its own, in which the kernel kills whoever takes too much."""
    with limited_group(gib) as group:

        def on_progress(progress: Progress) -> None:
            for record in registry.living():
                if record.state == "starting":
                    for process in record.processes():
                        enter(group, process.pid)

        yield {"on_progress": on_progress}


@contextlib.contextmanager
def limited_group(gib: float) -> Iterator[Path]:
    """A control group that may take so much memory, empty at first. Needs root rights. This
    process stays outside: the kernel kills the largest process of a group, which may be ours."""
    version_1 = (CGROUPS / "memory").is_dir()
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if version_1 else (
        "memory.max", "memory.swap.max")  # fmt: skip
    group = (CGROUPS / "memory" if version_1 else CGROUPS) / f"rerank-kit-{os.getpid()}"
    limit = str(int(gib * 2**30))
    try:
        group.mkdir()
    except OSError as error:
        raise LeftOut(f"no control group can be made here ({error.strerror})") from None
    try:
        try:
            (group / names[0]).write_text(limit)
            with contextlib.suppress(OSError):  # where the kernel does not count swap
                (group / names[1]).write_text(limit if version_1 else "0")
        except OSError as error:
            raise LeftOut(f"memory cannot be limited here ({error.strerror})") from None
        yield group
    finally:
        _remove(group)


def enter(group: Path, pid: int) -> None:
    """Move a process into a group; what it starts from now on belongs to it as well."""
    with contextlib.suppress(OSError):  # it has ended
        (group / "cgroup.procs").write_text(str(pid))


def _remove(group: Path) -> None:
    """A group goes away when its last process has."""
    deadline = time.monotonic() + 60
    while group.is_dir() and time.monotonic() < deadline:
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.1)


@contextlib.contextmanager
def stranger_takes_the_port() -> Iterator[dict[str, Any]]:
    """Another program binds the port after the kit has looked and before vLLM does."""
    sockets: list[socket.socket] = []

    def on_progress(progress: Progress) -> None:
        starting = [one for one in registry.living() if one.state == "starting"]
        if not sockets and starting:
            stranger = socket.create_server(("127.0.0.1", starting[-1].port))
            sockets.append(stranger)

    try:
        yield {"on_progress": on_progress}
    finally:
        for stranger in sockets:
            stranger.close()


@contextlib.contextmanager
def folder_without_weights() -> Iterator[dict[str, Any]]:
    """As after a download that brought the small files only."""
    with tempfile.TemporaryDirectory(prefix="rerank-kit-model-") as folder:
        for path in models.practice_model_dir().iterdir():
            if path.is_file() and not path.name.endswith(".safetensors"):
                shutil.copy(path, folder)
        yield {"model": folder}


@contextlib.contextmanager
def one_device() -> Iterator[dict[str, Any]]:
    """A machine with several GPUs or memory nodes runs what one with a single one refuses."""
    nodes = len(list(MEMORY_NODES.glob("node[0-9]*"))) if not machine.gpus() else 1
    if max(nodes, len(machine.gpus())) > 1:
        raise LeftOut("this machine has two of them")
    yield {}


@contextlib.contextmanager
def short_patience() -> Iterator[dict[str, Any]]:
    """So that a stop is not watched for a whole minute."""
    patience, stalls.QUIET_SECONDS = stalls.QUIET_SECONDS, 20.0
    try:
        yield {}
    finally:
        stalls.QUIET_SECONDS = patience
