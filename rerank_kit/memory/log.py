"""The memory of a server as vLLM's own log tells it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_kit.errors import FileInputError
from rerank_kit.memory.devices import Device


@dataclass(frozen=True)
class Measured:
    """Memory as a vLLM log tells it (GiB). None where the log says nothing."""

    weights_gib: float | None = None
    consumed_gib: float | None = None  # weights, libraries and work areas
    activations_gib: float | None = None
    graphs_gib: float | None = None
    kv_cache_gib: float | None = None
    kv_tokens: int | None = None
    free_at_start_gib: float | None = None
    total_gib: float | None = None
    is_cpu: bool = False
    host_gib: float | None = None  # the processes' main memory, where somebody measured it

    def terms(self, device: Device) -> dict[str, float]:
        """By the names of the plan's terms."""
        values = {
            "weights": self.weights_gib,
            "kv_cache": self.kv_cache_gib,
            "activations": self.activations_gib,
            "graphs": self.graphs_gib,
        }
        if self.consumed_gib is not None and self.weights_gib is not None:
            values["libraries"] = round(self.consumed_gib - self.weights_gib, 3)
        if device.measured and self.free_at_start_gib is not None and device.kind == "gpu":
            values["context"] = round(device.free_gib - self.free_at_start_gib, 3)
        return {name: value for name, value in values.items() if value is not None}


_GIB = r"([\d.]+) ?GiB"
#: (field, pattern): the wording of vLLM 0.8 to 0.32 (v1/worker/gpu_worker.py and others). Later
#: lines win: a log can hold several starts.
_LINES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("weights_gib", re.compile(rf"Model loading took {_GIB}")),
    ("weights_gib", re.compile(r"Loading model weights took ([\d.]+) ?GB")),
    ("consumed_gib", re.compile(rf"Actual usage is {_GIB} for consumed memory")),
    ("activations_gib", re.compile(rf"{_GIB} for peak activation")),
    ("graphs_gib", re.compile(rf"{_GIB} for CUDAGraph memory")),
    ("graphs_gib", re.compile(rf"Graph capturing finished in [\d.]+ secs, took {_GIB}")),
    ("weights_gib", re.compile(rf"Actual usage is {_GIB} for weight,")),
    ("kv_cache_gib", re.compile(rf"Available KV cache memory: {_GIB}")),
    ("kv_cache_gib", re.compile(rf"Current kv cache memory in use is {_GIB}")),
    ("kv_cache_gib", re.compile(rf"reserved {_GIB} memory for KV Cache")),
    ("kv_cache_gib", re.compile(r"(?:Explicitly|Auto) set \(([\d.]+)/[\d.]+\) GiB for KV cache")),
    ("kv_tokens", re.compile(r"KV cache size: ([\d,]+) tokens")),
    ("free_at_start_gib", re.compile(r"Free memory on device \S*\s*\(([\d.]+)/[\d.]+ GiB\)")),
    ("free_at_start_gib", re.compile(r"Free memory on device \(([\d.]+)/[\d.]+ GiB\)")),
    ("free_at_start_gib", re.compile(rf"Initial free memory {_GIB}, reserved")),
    ("total_gib", re.compile(r"Free memory on device[^(]*\([\d.]+/([\d.]+) GiB\)")),
)
_CPU_LINE = re.compile(r"GiB for KV cache on node|CPU KV cache size")


def read_log(lines: Path | Iterable[str]) -> Measured:
    """The memory that a vLLM log tells, from its last start. lines: the log or its lines.
    Raises FileInputError when the file cannot be read.

    >>> read_log(["INFO Model loading took 7.49 GiB memory and 3.1 seconds"]).weights_gib
    7.49
    """
    if isinstance(lines, Path):
        try:
            lines = lines.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise FileInputError(
                f"The log {lines} cannot be read.", evidence=str(error.strerror or error),
                hint="name the file that the server's output was written to",
            ) from None
    found: dict[str, Any] = {}
    for line in lines:
        if "GiB" not in line and "tokens" not in line and "GB" not in line:
            continue
        for name, pattern in _LINES:
            match = pattern.search(line)
            if match:
                number = match[1].replace(",", "").rstrip(".")
                found[name] = int(number) if name == "kv_tokens" else float(number)
        if _CPU_LINE.search(line):
            found["is_cpu"] = True
    return Measured(**found)
