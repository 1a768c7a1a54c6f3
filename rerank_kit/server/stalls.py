"""Tell a start that has stopped from one that is only slow.

A slow start does something: it writes its log, computes, or reads. One that does none of it has
stopped; one that computes but neither writes nor reads for longer than its stage ever takes
(counted with the model's size) most likely has.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from rerank_kit import models
from rerank_kit.errors import RerankKitError
from rerank_kit.registry import ServerRecord
from rerank_kit.server import process_group
from rerank_kit.server.remedies import Fix, fill_fixes
from rerank_kit.server.signatures import catalogue
from rerank_kit.server.startup import log_tail
from rerank_kit.server.verdict import Diagnosis, Evidence

#: Nothing at all for so long is a stop. The longest silence of a healthy start that was seen on
#: two overloaded cores is some seconds: whoever waits for the processor still gets some of it.
QUIET_SECONDS = 60.0
#: Below these a process only wakes up to look at the clock.
QUIET_CPU_SHARE = 0.02
QUIET_BYTES_PER_SECOND = 10_000
#: Computing without a line in the log and without reading: longest plausible times of a stage.
#: vLLM itself gives its engine 600 s (VLLM_ENGINE_READY_TIMEOUT_S); the first compilation of a
#: large model takes minutes.
BUSY_SECONDS = {"importing vLLM": 600.0, "loading the weights": 300.0, "warming up": 1800.0}
OTHER_BUSY_SECONDS = 600.0
#: A slow network disk. Weights are also converted while they are read.
SLOWEST_DISK_BYTES_PER_SECOND = 20e6
_LOOK_EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Activity:
    """What the processes of a start have done so far."""

    at: float
    log_bytes: int
    pids: frozenset[int]
    cpu_seconds: float
    io_bytes: int
    waits_for_disk: bool

    def moved_since(self, before: Activity) -> bool:
        """Something beyond computing: lines, new processes, bytes read or written."""
        seconds = max(self.at - before.at, 1e-9)
        return (
            self.log_bytes != before.log_bytes
            or self.pids != before.pids
            or self.io_bytes - before.io_bytes > QUIET_BYTES_PER_SECOND * seconds
        )

    def computed_since(self, before: Activity) -> bool:
        seconds = max(self.at - before.at, 1e-9)
        return self.cpu_seconds - before.cpu_seconds > QUIET_CPU_SHARE * seconds


class StallWatch:
    """Looks at a start every other second; `look` returns a diagnosis once it has stopped."""

    def __init__(self, record: ServerRecord) -> None:
        self._record = record
        self._moved = self._worked = self._seen = _activity(record)

    def look(self, stage: str) -> Diagnosis | None:
        if time.monotonic() - self._seen.at < _LOOK_EVERY_SECONDS:
            return None
        now = self._seen = _activity(self._record)
        if now.moved_since(self._moved):
            self._moved = self._worked = now
        elif now.waits_for_disk or now.computed_since(self._worked):
            self._worked = now
        quiet, busy = now.at - self._worked.at, now.at - self._moved.at
        if quiet > QUIET_SECONDS:
            return self._stalled(
                stage, f"for {quiet:.0f} s no line in the log, no computing and no reading"
            )
        if busy > busy_limit_seconds(stage, self._record.model):
            return self._stalled(
                stage, f"for {busy:.0f} s no line in the log and no reading, only computing"
            )
        return None

    def _stalled(self, stage: str, what: str) -> Diagnosis:
        family = catalogue().families["stalled"]
        log = Path(self._record.log_path)
        last = log_tail(log, 1)
        evidence = [Evidence(0, f"{what}; stage: {stage}")]
        if last:
            evidence.append(Evidence(_lines(log), last[:400]))
        fixes = (*_fewer_ranks(self._record.command), *fill_fixes(family.fixes, {}))
        known_stage = "load" if stage == "loading the weights" else "warmup"
        return Diagnosis(
            "stalled", "likely", known_stage, family.title, family.cause, tuple(evidence), fixes
        )


def busy_limit_seconds(stage: str, model: str) -> float:
    """How long a start may compute in this stage without a line and without reading.

    >>> busy_limit_seconds("loading the weights", "Qwen/Qwen3-Reranker-8B") > 1000
    True
    """
    limit = BUSY_SECONDS.get(stage, OTHER_BUSY_SECONDS)
    if stage == "loading the weights":
        try:
            limit += 2 * models.facts_of(model).parameters / SLOWEST_DISK_BYTES_PER_SECOND
        except RerankKitError:
            limit += 16.4e9 / SLOWEST_DISK_BYTES_PER_SECOND  # a model of unknown size: the 8B
    return limit


def _activity(record: ServerRecord) -> Activity:
    pids, cpu, moved, waits = set(), 0.0, 0, False
    for process in process_group.members(record.pid):
        try:
            with process.oneshot():
                times = process.cpu_times()
                waits = waits or process.status() == psutil.STATUS_DISK_SLEEP
            pids.add(process.pid)
            cpu += times.user + times.system
            moved += _bytes_moved(process)
        except psutil.Error:
            continue
    try:
        size = Path(record.log_path).stat().st_size
    except OSError:
        size = 0
    return Activity(time.monotonic(), size, frozenset(pids), cpu, moved, waits)


def _bytes_moved(process: psutil.Process) -> int:
    """Read and written, by calls and by page faults of mapped files; 0 where nobody may look."""
    try:
        io = process.io_counters()
    except (psutil.Error, AttributeError, NotImplementedError):
        return 0
    return int(getattr(io, "read_chars", 0) + getattr(io, "write_chars", 0) + io.read_bytes)


def _fewer_ranks(command: str) -> tuple[Fix, ...]:
    """Processes that wait for each other are the usual stop of a split model."""
    for name in ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size"):
        if name in command:
            why = "Split over several processes, they wait for each other; one needs nobody."
            return (Fix("setting", f"{name} 1", why),)
    return ()


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return 0
