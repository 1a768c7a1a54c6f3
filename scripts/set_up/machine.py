"""Read what this machine is: system, processor, NVIDIA driver, memory, disk.

The readers of text (`parse_...`) take recorded text and are tested with it; `read_machine`
is the thin edge that asks the real machine.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

GIB = 1024**3


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver as far as it could be read. `problem` says why it cannot be used."""

    version: Optional[str] = None
    gpu_names: Tuple[str, ...] = ()
    compute_capabilities: Tuple[str, ...] = ()
    problem: Optional[str] = None

    @property
    def number(self) -> Tuple[int, int]:
        """(major, minor) for comparisons; (0, 0) when there is none."""
        parts = re.findall(r"\d+", self.version or "")
        return (int(parts[0]), int(parts[1]) if len(parts) > 1 else 0) if parts else (0, 0)


@dataclass(frozen=True)
class Machine:
    """What the choice of a build depends on."""

    system: str = "Linux"  # platform.system()
    processor: str = "x86_64"
    wsl: bool = False
    glibc: Optional[Tuple[int, int]] = (2, 36)  # None: another C library (Alpine)
    avx2: bool = True
    driver: Driver = Driver()
    memory_gib: float = 16.0
    free_disk_gib: float = 100.0


def parse_nvidia_smi(text: str) -> Driver:
    """The driver from `nvidia-smi` (table) or `--query-gpu=...,csv` output."""
    low = text.lower()
    if "couldn't communicate with the nvidia driver" in low or "version mismatch" in low:
        return Driver(problem=" ".join(text.split())[:160])
    if "no devices were found" in low:
        return Driver(problem="nvidia-smi: No devices were found")
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    rows = [row for row in rows if len(row) >= 2 and re.fullmatch(r"\d+\.\d+[\d.]*", row[1])]
    if rows:
        capabilities = [row[2] for row in rows if len(row) > 2 and re.fullmatch(r"\d+\.\d", row[2])]
        return Driver(rows[0][1], tuple(row[0] for row in rows), tuple(capabilities))
    found = re.search(r"(?:Driver|KMD) Version:\s*(\d+\.\d+[\d.]*)", text)
    if not found:
        return Driver()
    names = re.findall(r"^\|\s+\d+\s+(\S.*?)\s+(?:On|Off)\s+\|", text, re.MULTILINE)
    return Driver(found.group(1), tuple(names))


def parse_driver_file(text: str) -> Optional[str]:
    """The version in /proc/driver/nvidia/version or /sys/module/nvidia/version."""
    found = re.search(r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+\.\d+[\d.]*)", text) or re.match(
        r"\s*(\d+\.\d+[\d.]*)\s*$", text
    )
    return found.group(1) if found else None


def parse_cpu_flags(text: str) -> bool:
    """Whether /proc/cpuinfo names AVX2 (every x86-64 processor since about 2015)."""
    return bool(re.search(r"^flags\s*:.*\bavx2\b", text, re.MULTILINE))


def run(arguments: List[str], timeout_seconds: float) -> Tuple[int, str]:
    """Exit status and output of a command; 127 and the reason when it cannot run."""
    try:
        done = subprocess.run(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=timeout_seconds,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def read_text(path: str) -> str:
    """A small system file, or nothing."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_driver(quick: bool = False) -> Driver:
    """The driver of this machine. `quick` reads files only (no nvidia-smi, which takes seconds)."""
    in_files = parse_driver_file(read_text("/proc/driver/nvidia/version")) or parse_driver_file(
        read_text("/sys/module/nvidia/version")
    )
    if quick and in_files:
        return Driver(in_files)
    smi = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    if smi is None:
        if in_files and not Path("/dev/nvidiactl").exists():
            return Driver(problem="driver %s is loaded, but no GPU is passed in here" % in_files)
        return Driver(in_files)
    query = [smi, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    status, text = run(query, 60)
    driver = parse_nvidia_smi(text)
    if driver.version is None and driver.problem is None:
        status, text = run([smi], 60)  # old drivers do not know compute_cap
        driver = parse_nvidia_smi(text)
    if driver.version is None and driver.problem is None and status != 0:
        driver = Driver(problem="nvidia-smi: " + (" ".join(text.split())[:160] or "no answer"))
    return driver


def read_memory_gib() -> float:
    """Memory this process may use: of the machine, or of its container when that has less."""
    found = re.search(r"MemTotal:\s+(\d+) kB", read_text("/proc/meminfo"))
    total = int(found.group(1)) * 1024 if found else 0
    if not total and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = read_text(name).strip()
        if limit.isdigit() and 0 < int(limit) < total:
            total = int(limit)
    return total / GIB


def free_disk_gib(path: Path) -> float:
    """Free space of the disk that holds `path` (or its nearest existing parent)."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(str(path)).free / GIB


def read_machine(data_dir: Path, quick: bool = False) -> Machine:
    """Ask this machine. `data_dir` is where the environment will be."""
    system = platform.system()
    release = platform.release().lower()
    library, version = platform.libc_ver()
    numbers = re.findall(r"\d+", version)
    glibc = (int(numbers[0]), int(numbers[1])) if library == "glibc" and len(numbers) > 1 else None
    x86 = platform.machine() in ("x86_64", "AMD64")
    return Machine(
        system=system,
        processor=platform.machine(),
        wsl="microsoft" in release,
        glibc=glibc,
        avx2=not x86 or system != "Linux" or parse_cpu_flags(read_text("/proc/cpuinfo")),
        driver=read_driver(quick) if system == "Linux" else Driver(),
        memory_gib=read_memory_gib(),
        free_disk_gib=free_disk_gib(data_dir),
    )


def larger_data_disks(project: Path) -> Dict[str, float]:
    """Usual data disks of rented machines with > 50 GiB more free than this disk has."""
    here = free_disk_gib(project)
    disks = {}
    for name in ("/root/autodl-tmp", "/workspace", "/mnt/data", "/data", "/mnt/disks"):
        if os.path.isdir(name) and os.access(name, os.W_OK):
            free = free_disk_gib(Path(name))
            if free > here + 50:
                disks[name] = free
    return disks


def running_python() -> Tuple[int, int]:
    """(major, minor) of the Python that runs the set-up."""
    return sys.version_info[0], sys.version_info[1]
