"""Failures that are more than a start that fails: a worker that is killed, a disk that is full."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from rerank_kit.errors import RequestError, RerankKitError
from rerank_kit.server.diagnosis import diagnose
from rerank_kit.server.lifecycle import launch
from rerank_kit.server.provoke.outcome import LeftOut, Provocation, Seen
from rerank_kit.server.server import Server

_PAIR = ("What is the capital of China?", "The capital of China is Beijing.")
#: vLLM was seen to end within 10 s of a worker's death.
END_SECONDS = 120.0


def scores_and_stops(server: Server) -> bool:
    """The proof that a server runs again."""
    try:
        return len(server.reranker().score([_PAIR])) == 1
    finally:
        server.stop(force=True)


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline()) or "VLLM" in process.name()
    except psutil.Error:
        return False  # a helper of vLLM's that has just ended


def kill_a_worker(one: Provocation, seen: Seen) -> bool:
    """The out-of-memory killer of the system takes a worker while the server serves."""
    server = launch("practice", extra_args=one.flags)
    assert server.record is not None
    log, pid = Path(server.record.log_path), server.record.pid
    try:
        children = psutil.Process(pid).children(recursive=True)
        workers = [process for process in children if _is_worker(process)]
        if not workers:
            raise LeftOut("this server has no worker of its own")
        workers[-1].kill()
        deadline = time.monotonic() + END_SECONDS
        while server.record.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(RequestError):
                server.reranker().transport.get("/health", timeout_seconds=5.0)
            time.sleep(0.5)
    finally:
        server.stop(force=True)
    seen.found(diagnose(log))
    if not seen.mend:
        return False
    seen.mended_by_hand("started again; nothing was wrong with its settings")
    return scores_and_stops(launch("practice", extra_args=one.flags))


def fill_the_disk(one: Provocation, seen: Seen) -> bool:
    """The state folder, log included, on a disk of 1 MiB that is full; then room is made."""
    folder = Path(tempfile.mkdtemp(prefix="rerank-kit-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        folder.rmdir()
        raise LeftOut("mounting a small disk needs root rights")
    former = os.environ.get("RERANK_KIT_STATE_DIR")
    os.environ["RERANK_KIT_STATE_DIR"] = str(folder)
    try:
        ballast = folder / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        try:
            launch("practice").stop(force=True)
        except RerankKitError as error:
            seen.take(error)
        if not seen.mend:
            return False
        ballast.unlink()
        seen.mended_by_hand("room was made on the disk")
        return scores_and_stops(launch("practice"))
    finally:
        if former is None:
            del os.environ["RERANK_KIT_STATE_DIR"]
        else:
            os.environ["RERANK_KIT_STATE_DIR"] = former
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()
