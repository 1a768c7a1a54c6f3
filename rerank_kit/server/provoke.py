"""Break a start on purpose, see what is diagnosed, mend it, see it run.

Each provocation is a real failure of a real server on whatever machine this is: with the
practice model it needs no GPU and costs nothing. Notebook 08, the tests and
scripts/provoke_failures.py share them.

    print(provoke("cache too small"))
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from rerank_kit import models, registry
from rerank_kit.errors import InputError, RequestError, RerankKitError
from rerank_kit.server import stalls
from rerank_kit.server.diagnosis import Diagnosis, diagnose
from rerank_kit.server.lifecycle import launch
from rerank_kit.server.recovery import Remedy
from rerank_kit.server.server import Server
from rerank_kit.server.startup import Progress

_PAIR = ("What is the capital of China?", "The capital of China is Beijing.")


@dataclass(frozen=True)
class Outcome:
    """What happened. family and evidence: what was diagnosed. remedies: what was changed, one
    sentence each; running: after that it served and scored. expected: what should be found."""

    name: str
    broken_by: str
    expected: tuple[str, ...]
    family: str
    confidence: str
    evidence: str
    remedies: tuple[str, ...]
    running: bool
    seconds: float
    needs_person: bool = False
    left_out: str = ""

    @property
    def good(self) -> bool:
        """Diagnosed as what it was, and running where a setting can cure it."""
        return bool(self.left_out) or (
            self.family in self.expected and (self.running or self.needs_person)
        )

    def __str__(self) -> str:
        if self.left_out:
            return f"{self.name}: left out, {self.left_out}"
        end = "running" if self.running else "not running: a person has to mend it"
        lines = [f"{self.name}: {self.broken_by}", f"  found: {self.family} ({self.confidence})"]
        lines += [f"  {text}" for text in (self.evidence, *self.remedies) if text]
        return "\n".join([*lines, f"  then: {end}"])


@dataclass(frozen=True)
class Provocation:
    """broken_by: what is done, one sentence. expected: the families that are right. around:
    what else is broken while it starts. needs_person: no setting can cure it."""

    name: str
    broken_by: str
    expected: tuple[str, ...]
    flags: tuple[str, ...] = ()
    around: Callable[[], contextlib.AbstractContextManager[dict[str, Any]]] | None = None
    needs_person: bool = False
    run: Callable[[Provocation, _Seen], bool] | None = None


@dataclass
class _Seen:
    """What has been observed so far. mend: whether it is to run again."""

    mend: bool
    family: str = ""
    confidence: str = ""
    evidence: str = ""
    remedies: list[str] = field(default_factory=list)
    left_out: str = ""

    def take(self, error: RerankKitError) -> None:
        found = getattr(error, "diagnosis", None)
        if found is not None:
            self.found(found)
        elif not self.family and "No space left" in str(error):
            self.family, self.confidence = "disk_full", "certain"
        self.evidence = self.evidence or error.evidence or error.message

    def found(self, diagnosis: Diagnosis) -> None:
        """The first failure counts; what comes after a cure is another one."""
        if not self.family:
            self.family, self.confidence = diagnosis.family, diagnosis.confidence
            self.evidence = diagnosis.evidence[0].text if diagnosis.evidence else ""


def provoke(name: str, *, mend: bool = True) -> Outcome:
    """Provoke one failure by name (see PROVOCATIONS); nothing is left running.

    mend: False only breaks and diagnoses, which is quicker. Raises InputError for another name.
    """
    known = {one.name: one for one in PROVOCATIONS}
    if name not in known:
        raise InputError(f"{name!r} is no known provocation.", hint=f"one of: {', '.join(known)}")
    one, seen, started = known[name], _Seen(mend), time.monotonic()
    running = (one.run or (_break_and_mend if mend else _break))(one, seen)
    return Outcome(
        one.name, one.broken_by, one.expected, seen.family, seen.confidence, seen.evidence,
        tuple(seen.remedies), running, round(time.monotonic() - started, 1),
        one.needs_person or not mend, seen.left_out,
    )  # fmt: skip


def _break(one: Provocation, seen: _Seen) -> bool:
    with (one.around or _nothing)() as more:
        try:
            launch("practice", extra_args=one.flags, **more).stop(force=True)
        except RerankKitError as error:
            seen.take(error)
            return False
    return True


def _break_and_mend(one: Provocation, seen: _Seen) -> bool:
    """One launch that breaks, is diagnosed, and mends itself if a setting can."""

    def note(remedy: Remedy) -> None:
        if remedy.diagnosis is not None:
            seen.found(remedy.diagnosis)
        seen.remedies.append(str(remedy))

    with (one.around or _nothing)() as more:
        try:
            server = launch(
                "practice", extra_args=one.flags, recover=True, on_remedy=note, **more
            )
        except RerankKitError as error:
            seen.take(error)
            return False
        return _scores_and_stops(server)


def _scores_and_stops(server: Server) -> bool:
    try:
        return len(server.reranker().score([_PAIR])) == 1
    finally:
        server.stop(force=True)


# -- what is broken around a start -------------------------------------------------------------


@contextlib.contextmanager
def _nothing() -> Iterator[dict[str, Any]]:
    yield {}


@contextlib.contextmanager
def _address_space(gib: float) -> Iterator[dict[str, Any]]:
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
def _stranger_takes_the_port() -> Iterator[dict[str, Any]]:
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
def _folder_without_weights() -> Iterator[dict[str, Any]]:
    """As after a download that brought the small files only."""
    with tempfile.TemporaryDirectory(prefix="rerank-kit-model-") as folder:
        for path in models.practice_model_dir().iterdir():
            if path.is_file() and not path.name.endswith(".safetensors"):
                shutil.copy(path, folder)
        yield {"model": folder}


@contextlib.contextmanager
def _short_patience() -> Iterator[dict[str, Any]]:
    """So that a stop is not watched for a whole minute."""
    patience, stalls.QUIET_SECONDS = stalls.QUIET_SECONDS, 20.0
    try:
        yield {}
    finally:
        stalls.QUIET_SECONDS = patience


def _kill_a_worker(one: Provocation, seen: _Seen) -> bool:
    """The out-of-memory killer of the system takes a worker while the server serves."""
    server = launch("practice", extra_args=one.flags)
    assert server.record is not None
    log, pid = Path(server.record.log_path), server.record.pid
    try:
        workers = [
            process
            for process in psutil.Process(pid).children(recursive=True)
            if "spawn_main" in " ".join(process.cmdline()) or "VLLM" in process.name()
        ]
        if not workers:
            seen.left_out = "this server has no worker of its own"
            return False
        workers[-1].kill()
        deadline = time.monotonic() + 60
        while server.record.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(RequestError):
                server.reranker().transport.get("/health", timeout_seconds=5.0)
            time.sleep(0.5)
    finally:
        server.stop(force=True)
    seen.found(diagnose(log))
    if not seen.mend:
        return False
    seen.remedies.append("Nothing is wrong with the settings: started again as it was.")
    return _scores_and_stops(launch("practice", extra_args=one.flags))


def _fill_the_disk(one: Provocation, seen: _Seen) -> bool:
    """The state folder, log included, on a disk of 1 MiB that is full; then room is made."""
    folder = Path(tempfile.mkdtemp(prefix="rerank-kit-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        folder.rmdir()
        seen.left_out = "mounting a small disk needs root rights"
        return False
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
        seen.remedies.append("Room was made on the disk: started again as it was.")
        return _scores_and_stops(launch("practice"))
    finally:
        if former is None:
            del os.environ["RERANK_KIT_STATE_DIR"]
        else:
            os.environ["RERANK_KIT_STATE_DIR"] = former
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


PROVOCATIONS: Sequence[Provocation] = (
    Provocation(
        "cache too small", "the KV cache gets one megabyte", ("kv_cache_too_small",),
        ("--kv-cache-memory-bytes", "1000000"),
    ),
    Provocation(
        "context too long", "texts of ten million tokens are promised", ("bad_argument",),
        ("--max-model-len", "9999999"),
    ),
    Provocation(
        "port taken", "a stranger binds the port a moment before vLLM", ("port_in_use",),
        around=_stranger_takes_the_port,
    ),
    Provocation(
        "quantisation not supported", "fp8 weights with 32-bit floats",
        ("quantization", "dtype_unsupported"), ("--quantization", "fp8"),
    ),
    Provocation(
        "main memory", "a cache of 8 GB under a limit of 6 GiB (ulimit -v)", ("host_oom",),
        ("--kv-cache-memory-bytes", "8000000000"), around=lambda: _address_space(6.0),
    ),
    Provocation(
        "stuck", "a model split over two workers, and only one is started", ("stalled",),
        ("--tensor-parallel-size", "2", "--distributed-executor-backend", "uni"),
        around=_short_patience,
    ),
    Provocation(
        "worker killed", "a worker process is killed while it serves", ("host_oom",),
        ("--distributed-executor-backend", "mp"), run=_kill_a_worker,
    ),
    Provocation(
        "disk full", "log and state on a disk without room", ("disk_full",), run=_fill_the_disk,
    ),
    Provocation(
        "bad path", "a model folder without its weights", ("bad_model_path",),
        around=_folder_without_weights, needs_person=True,
    ),
    Provocation(
        "wrong argument", "a flag that vLLM does not have", ("bad_argument",),
        ("--no-such-flag",), needs_person=True,
    ),
)  # fmt: skip
