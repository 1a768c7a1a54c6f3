"""What this hardware could do at best, measured, and how near a load comes to it.

The limit is the fastest large matrix product that torch makes here in the server's own number
format: nearly all work of a reranker is matrix products. Only tokens that were really computed
count, so a full cache cannot make a slow server look good.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from rerank_kit.errors import SetupError
from rerank_kit.models import ModelFacts

#: Run in a child process: torch (and the GPU memory it takes) must not stay in this one.
_CHILD = """
import json, sys, time
import torch

asked = json.loads(sys.argv[1])
on_gpu = asked["device"] == "gpu"
device = "cuda" if on_gpu else "cpu"
if not on_gpu:
    torch.set_num_threads(asked["threads"])
dtype = getattr(torch, asked["dtype"])
best = 0.0
for rows, inner, columns in asked["shapes"]:
    a = torch.randn(rows, inner, device=device, dtype=dtype)
    b = torch.randn(columns, inner, device=device, dtype=dtype).t()
    torch.mm(a, b)
    end = time.perf_counter() + asked["seconds"] / len(asked["shapes"])
    while time.perf_counter() < end:
        if on_gpu:
            torch.cuda.synchronize()
        started, times = time.perf_counter(), 8 if on_gpu else 1
        for _ in range(times):
            torch.mm(a, b)
        if on_gpu:
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - started) / times
        best = max(best, 2 * rows * inner * columns / seconds)
name = torch.cuda.get_device_name() if on_gpu else f"{asked['threads']} CPU cores"
print(json.dumps({"flops": best, "device": name}))
"""
#: Rows, inner, columns. A GPU needs large ones; a CPU's caches like those of a real layer.
_GPU_SHAPES = [[8192, 8192, 8192]]
_CPU_SHAPES = [[2048, 2048, 2048], [2048, 1024, 4096], [1024, 3072, 1024]]
_TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class Limit:
    """The fastest matrix product seen. flops_per_second: two for each multiply-and-add."""

    flops_per_second: float
    dtype: str
    device: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "gflops_per_second": round(self.flops_per_second / 1e9, 1),
            "dtype": self.dtype,
            "device": self.device,
        }

    def __str__(self) -> str:
        amount = self.flops_per_second
        shown = f"{amount / 1e12:.0f} TFLOP/s" if amount >= 1e13 else f"{amount / 1e9:.0f} GFLOP/s"
        return f"{shown} in {self.dtype} on {self.device}"


def measure_limit(dtype: str, *, on_gpu: bool = False, seconds: float = 2.0) -> Limit:
    """Measure the matrix product here and now, in a child process. Nothing else should run
    meanwhile. Raises SetupError when torch is missing or cannot compute in this format."""
    asked = {
        "dtype": dtype,
        "device": "gpu" if on_gpu else "cpu",
        "threads": cores(),
        "seconds": seconds,
        "shapes": _GPU_SHAPES if on_gpu else _CPU_SHAPES,
    }
    command = [sys.executable, "-P", "-c", _CHILD, json.dumps(asked)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
        found = json.loads(done.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        lines = "" if "done" not in locals() else done.stderr.strip()
        raise SetupError(
            f"The matrix product in {dtype} could not be measured here.",
            evidence=lines.splitlines()[-1] if lines else "",
            hint="it needs torch: bash scripts/start.sh --setup-only",
        ) from None
    return Limit(float(found["flops"]), dtype, str(found["device"]))


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def flops_per_pair(facts: ModelFacts, tokens: float, cached_tokens: float = 0.0) -> float:
    """Floating-point operations of one pair: 2 for each weight of the linear layers and computed
    token; and attention, where each computed token looks at all tokens before it (2 for the
    products with the keys, 2 for those with the values). Embedding and score head are left out.

    >>> from rerank_kit import models
    >>> round(flops_per_pair(models.CATALOGUE["Qwen/Qwen3-Reranker-4B"], 512) / 1e12, 2)
    3.8
    """
    computed = tokens - cached_tokens
    looked_at = (tokens**2 - cached_tokens**2) / 2
    attention = 4 * facts.layers * facts.heads * facts.head_dim * looked_at
    return 2 * facts.linear_parameters * computed + attention


def percent_of_limit(
    limit: Limit,
    facts: ModelFacts,
    pairs_per_second: float,
    tokens_per_pair: float,
    cached_share: float,
) -> float:
    """How much of the measured limit a speed is, in percent, counting only computed tokens."""
    work = flops_per_pair(facts, tokens_per_pair, cached_share * tokens_per_pair)
    return 100 * pairs_per_second * work / limit.flops_per_second
