"""Read a starting server's log: which stage it is in, how far, and how long it may still take."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rerank_kit.registry import read_json_object, state_dir, write_json

#: (stage, the log line that opens it, share of a start that is over by then when nothing is
#: known from earlier starts). Lines as in vLLM 0.19 to 0.32.
STAGES: tuple[tuple[str, str | None, float], ...] = (
    ("importing vLLM", None, 0.0),
    ("reading the model's configuration", r"non-default args", 0.35),
    ("starting the engine", r"Initializing a V1 LLM engine|Initializing a V1 engine", 0.70),
    ("loading the weights", r"Starting to load model", 0.80),
    ("warming up", r"Loading weights took|Model loading took", 0.88),
    ("opening the port", r"init engine \(profile|Supported tasks:", 0.95),
    ("scoring a known pair", r"Application startup complete", 0.98),
)
#: After one of these lines a start never comes up, but vLLM was seen to live half a minute more.
_GIVEN_UP = re.compile(
    r"EngineCore failed to start|Engine core initialization failed|WorkerProc failed to start"
)
_PATTERNS = [re.compile(pattern) if pattern else None for _, pattern, _ in STAGES]


@dataclass(frozen=True)
class Progress:
    """How far a start is. percent 0 to 100; seconds_left None when nothing is known yet."""

    stage: str
    percent: float
    seconds_elapsed: float
    seconds_left: float | None


ProgressCallback = Callable[[Progress], None]


@dataclass
class StartupReader:
    """Follows one log file. Earlier starts of the same server give the time that is left."""

    log_path: Path
    fingerprint: str
    _offset: int = 0
    _stage: int = 0
    _reached_at: list[float] = field(default_factory=lambda: [0.0])
    has_given_up: bool = False

    def read(self, seconds_elapsed: float) -> Progress:
        """Take in what the log has gained and say where the start is."""
        for line in self._new_lines():
            self.has_given_up = self.has_given_up or bool(_GIVEN_UP.search(line))
            for place in range(self._stage + 1, len(STAGES)):
                pattern = _PATTERNS[place]
                if pattern is not None and pattern.search(line):
                    skipped = place - self._stage
                    self._reached_at += [seconds_elapsed] * skipped
                    self._stage = place
        return self._progress(seconds_elapsed)

    def remember(self, seconds_total: float) -> None:
        """Keep this start's times for the next one's forecast."""
        times = _remembered()
        times[self.fingerprint] = [*self._reached_at, seconds_total]
        write_json(_timings_path(), times)

    def _progress(self, elapsed: float) -> Progress:
        known = _remembered().get(self.fingerprint)
        name = STAGES[self._stage][0]
        if known and known[-1] > 0:
            total = known[-1]
            # Late against the last start: whatever remained then after this stage remains now.
            after_stage = total - known[min(self._stage + 1, len(known) - 1)]
            left = max(total - elapsed, after_stage, 0.0)
            return Progress(name, min(99.0, 100 * elapsed / (elapsed + left + 1e-9)), elapsed, left)
        return Progress(name, 100 * STAGES[self._stage][2], elapsed, None)

    def _new_lines(self) -> list[str]:
        try:
            with self.log_path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        end = data.rfind(b"\n") + 1
        self._offset += end
        return data[:end].decode("utf-8", errors="replace").splitlines()


def log_tail(path: Path, lines: int = 30) -> str:
    """The last lines of a log, without reading all of it."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            data = file.read()
    except OSError:
        return ""
    return "\n".join(data.decode("utf-8", errors="replace").splitlines()[-lines:])


def _timings_path() -> Path:
    return state_dir() / "start_times.json"


def _remembered() -> dict[str, list[float]]:
    return read_json_object(_timings_path())
