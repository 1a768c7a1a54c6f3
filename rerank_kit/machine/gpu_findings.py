"""The lines on the GPUs: what they are and can do, who holds their memory, the driver, the compiler
that a start on them needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from rerank_kit.machine import compiler, nvidia_smi
from rerank_kit.machine import gpu as graphics
from rerank_kit.machine.finding import Finding
from rerank_kit.machine.gpu import Gpu

#: Memory of a card in other hands that a display does not explain.
FOREIGN_GIB = 1.0


def gpu_findings(found: list[Gpu]) -> list[Finding]:
    """One line for each GPU, one for each card that others use, one for the driver."""
    if not found:
        return [_no_gpu()]
    lines = []
    for gpu in found:
        lines.append(_gpu(gpu))
        lines += _held(gpu)
    first = found[0]
    usable, means = graphics.what_driver_means(first.driver)
    cuda = f" (CUDA up to {first.cuda})" if first.cuda else ""
    detail = f"driver {first.driver}{cuda} {means}"
    if usable:
        lines.append(Finding("driver", "ok", detail))
    else:
        lines.append(
            Finding("driver", "fix", detail,
                    "sudo apt-get install nvidia-driver-580   # or rent an image with driver 580")
        )  # fmt: skip
    return lines


def _gpu(gpu: Gpu) -> Finding:
    words = graphics.what_capability_means(gpu.compute_capability)
    display = ", shows a display" if gpu.shows_display else ""
    detail = (
        f"GPU {gpu.index}: {gpu.name}, {gpu.free_gib:.1f} of {gpu.total_gib:.1f} GiB free"
        f"{display}; {words}"
    )
    if 0 < gpu.compute_capability < graphics.OLDEST_CAPABILITY:
        return Finding("gpu", "fix", detail, "rent a newer card (T4 or later), or use RERANK_URL")
    if gpu.total_gib <= 0:
        return Finding("gpu", "unknown", f"GPU {gpu.index}: {gpu.name}; its memory is not shown",
                       "nvidia-smi")  # fmt: skip
    return Finding("gpu", "ok", detail)


def _held(gpu: Gpu) -> list[Finding]:
    """Who else holds the card's memory. Our own servers are named, but nothing to fix."""
    used = max(0.0, gpu.usable_gib - gpu.free_gib)
    ours = [one for one in gpu.holders if one.ours]
    others = [one for one in gpu.holders if not one.ours]
    foreign = used - sum(one.gib or 0.0 for one in ours)
    if ours and not others:
        return [Finding("gpu_memory", "ok", f"GPU {gpu.index}: {'; '.join(map(str, ours))}")]
    if foreign < FOREIGN_GIB or (ours and any(one.gib is None for one in ours)):
        return []
    who = "; ".join(map(str, others)) or "a process that is not visible here"
    pids = ",".join(str(one.pid) for one in others)
    see = f"ps -o user,etime,args -p {pids}   # yours and not needed? kill it" if pids else (
        "close programs that use the display, or see other containers of this machine"
    )
    detail = f"GPU {gpu.index}: {foreign:.1f} GiB are in use: {who}"
    return [Finding("gpu_memory", "fix", detail, see)]


def _no_gpu() -> Finding:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shutil.which("nvidia-smi") is None and not Path("/proc/driver/nvidia/version").exists():
        return Finding("gpu", "ok", "no NVIDIA GPU: the practice profile runs on the CPU, free")
    if hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"):
        return Finding(
            "gpu", "ok", "the GPU is hidden by CUDA_VISIBLE_DEVICES: everything runs on the CPU",
        )
    return Finding(
        "gpu", "fix", f"an NVIDIA driver is here, but no GPU answers: {_smi_complaint()}",
        "nvidia-smi   # in Docker: start the container with --gpus all",
    )


def _smi_complaint() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi"], capture_output=True, text=True, check=False,
            timeout=nvidia_smi.TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "nvidia-smi does not answer"
    words = " ".join((done.stdout + " " + done.stderr).split())
    return words[:120] or f"nvidia-smi ended with {done.returncode}"


def compiler_finding() -> Finding:
    """On a GPU Triton compiles a small program at the first start; slim images cannot."""
    name, needs = compiler.c_compiler(), "a server on the GPU compiles at its first start"
    if name is None:
        named = os.environ.get("CC")
        detail = f"CC={named} is not a program here" if named is not None else "no C compiler"
        fix = "unset CC" if named is not None else compiler.INSTALL
        return Finding("compiler", "fix", f"{detail}: {needs}", fix)
    if not compiler.has_python_headers():
        detail = f"a C compiler ({name}), but no Python.h: {needs}"
        return Finding("compiler", "fix", detail, compiler.INSTALL)
    return Finding("compiler", "ok", f"a C compiler ({name}) and Python's headers, for Triton")
