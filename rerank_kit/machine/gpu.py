"""NVIDIA GPUs: name, memory, who holds it, what the chip and the driver can do.

NVML (the library that nvidia-smi itself uses) is asked first, nvidia-smi where its Python
binding is missing or fails. `parse_...` functions take the tool's text; tests feed them
recorded text.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psutil

from rerank_kit import registry
from rerank_kit.models import GIB

MIB_PER_GIB = 1024
#: NVML and nvidia-smi can hang on a sick driver; nothing here may wait longer.
PROBE_TIMEOUT_SECONDS = 15.0
NVML_TIMEOUT_SECONDS = 10.0

#: Driver branch -> newest CUDA it runs (CUDA release notes, table of driver versions; the newer
#: ones as their nvidia-smi prints them). NVML says it itself, nvidia-smi only in its table.
_CUDA_OF_DRIVER = (
    (595, "13.2"), (590, "13.1"), (580, "13.0"), (575, "12.9"), (570, "12.8"), (565, "12.7"),
    (560, "12.6"), (555, "12.5"), (550, "12.4"), (545, "12.3"), (535, "12.2"), (530, "12.1"),
    (525, "12.0"), (520, "11.8"), (515, "11.7"), (510, "11.6"), (495, "11.5"), (470, "11.4"),
    (450, "11.0"),
)  # fmt: skip
#: Only for drivers older than 510, whose nvidia-smi does not know the field compute_cap.
_CAPABILITY_OF_NAME = (
    ("T4", 7.5), ("RTX 20", 7.5), ("Quadro RTX", 7.5), ("GTX 16", 7.5), ("V100", 7.0),
    ("A100", 8.0), ("A30", 8.0), ("H100", 9.0), ("H200", 9.0), ("L4", 8.9), ("RTX 40", 8.9),
    ("A10", 8.6), ("RTX 30", 8.6), ("A6000", 8.6), ("A40", 8.6), ("P100", 6.0), ("GTX 10", 6.1),
)  # fmt: skip
#: vLLM's CUDA 13 wheels need this driver, the newest CUDA 12 wheel (0.19.1) that one.
DRIVER_FOR_CUDA_13 = (580, 65)
DRIVER_FOR_CUDA_12 = (525, 0)
#: Oldest chip that vLLM 0.32's wheels are compiled for (Turing; V100 is 7.0).
OLDEST_CAPABILITY = 7.5


@dataclass(frozen=True)
class Holder:
    """A process that holds GPU memory. gib is None where the driver does not say (WSL2, some
    containers). ours: it belongs to a server that this kit started."""

    pid: int
    command: str
    gib: float | None = None
    ours: bool = False

    def __str__(self) -> str:
        size = "an unknown amount" if self.gib is None else f"{self.gib:.1f} GiB"
        return f"{size} by {'our server' if self.ours else self.command} (pid {self.pid})"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU, or one MIG instance of one. compute_capability is e.g. 8.6.

    total_gib is what nvidia-smi prints; reserved_gib of it belongs to the driver, so CUDA
    programs see usable_gib (0 reserved: the driver did not say).
    """

    index: int
    name: str
    total_gib: float
    free_gib: float
    driver: str
    compute_capability: float
    reserved_gib: float = 0.0
    cuda: str = ""  # the newest CUDA this driver runs
    uuid: str = ""
    mig: str = ""  # the profile of a MIG instance, e.g. 3g.40gb
    shows_display: bool = False
    holders: tuple[Holder, ...] = ()

    @property
    def usable_gib(self) -> float:
        """What cudaMemGetInfo calls total. vLLM computes its shares of this number."""
        return self.total_gib - self.reserved_gib

    @property
    def visible_devices(self) -> dict[str, str]:
        """The environment that gives a program this GPU and no other."""
        if self.mig:
            return {"CUDA_VISIBLE_DEVICES": self.uuid}
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(self.index)}


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that can be used here, as CUDA_VISIBLE_DEVICES allows; empty without a
    driver, or when neither NVML nor nvidia-smi answers."""
    found = _from_nvml()
    if found is None:
        found = _from_nvidia_smi()
    return visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(found: list[Gpu], variable: str | None) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves (None: not set). Numbers are read in the order
    of nvidia-smi, which is CUDA's own when CUDA_DEVICE_ORDER=PCI_BUS_ID or the cards are alike."""
    if variable is None or not found:
        return found
    chosen: list[Gpu] = []
    for word in (word.strip() for word in variable.split(",")):
        matches = [
            gpu for gpu in found
            if word == str(gpu.index) or (word and gpu.uuid.startswith(word) and "-" in word)
        ]  # fmt: skip
        if not matches:
            break  # CUDA ignores everything after the first one that does not exist
        chosen += [gpu for gpu in matches if gpu not in chosen]
    return chosen


# --- NVML -----------------------------------------------------------------------------------


def _from_nvml() -> list[Gpu] | None:
    """None when NVML cannot be asked here, or does not answer in time."""
    result: list[list[Gpu] | None] = [None]

    def ask() -> None:
        result[0] = _ask_nvml()

    thread = threading.Thread(target=ask, daemon=True, name="nvml")
    thread.start()
    thread.join(NVML_TIMEOUT_SECONDS)
    return result[0]


def _ask_nvml() -> list[Gpu] | None:
    try:
        import pynvml  # nvidia-ml-py
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return list(_nvml_gpus(pynvml))
    except pynvml.NVMLError:
        return None
    finally:
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            pass  # nothing left to shut down


def _nvml_gpus(nvml: Any) -> Iterator[Gpu]:
    driver = str(nvml.nvmlSystemGetDriverVersion())
    number = _or_none(nvml, nvml.nvmlSystemGetCudaDriverVersion) or 0
    cuda = f"{number // 1000}.{number % 1000 // 10}" if number else newest_cuda(driver)
    for index in range(nvml.nvmlDeviceGetCount()):
        device = nvml.nvmlDeviceGetHandleByIndex(index)
        parent = _nvml_device(nvml, device, index, driver, cuda)
        mode = _or_none(nvml, nvml.nvmlDeviceGetMigMode, device)
        if not mode or not mode[0]:
            yield parent
            continue
        for number in range(_or_none(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, device) or 0):
            instance = _or_none(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, device, number)
            if instance is None:
                continue  # numbers without an instance are normal
            part = _nvml_device(nvml, instance, index, driver, cuda)
            profile = re.search(r"MIG (\S+)$", part.name)
            yield replace(
                part,
                mig=profile[1] if profile else "MIG",
                compute_capability=parent.compute_capability,
            )


def _nvml_device(nvml: Any, device: Any, index: int, driver: str, cuda: str) -> Gpu:
    memory = _or_none(nvml, nvml.nvmlDeviceGetMemoryInfo, device, getattr(nvml, "nvmlMemory_v2", 0))
    reserved = getattr(memory, "reserved", 0) if memory is not None else 0
    if memory is None:  # drivers before 510 know only the first form
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
    capability = _or_none(nvml, nvml.nvmlDeviceGetCudaComputeCapability, device) or (0, 0)
    running = _or_none(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, device) or []
    return Gpu(
        index=index,
        name=str(nvml.nvmlDeviceGetName(device)),
        total_gib=memory.total / GIB,
        free_gib=memory.free / GIB,
        driver=driver,
        compute_capability=capability[0] + capability[1] / 10,
        reserved_gib=reserved / GIB,
        cuda=cuda,
        uuid=str(_or_none(nvml, nvml.nvmlDeviceGetUUID, device) or ""),
        shows_display=bool(_or_none(nvml, nvml.nvmlDeviceGetDisplayActive, device)),
        holders=tuple(
            holder(one.pid, None if one.usedGpuMemory is None else one.usedGpuMemory / GIB)
            for one in running
        ),
    )


def _or_none(nvml: Any, ask: Callable[..., Any], *arguments: Any) -> Any:
    """What this driver or chip does not support is left out, not a failure of the report."""
    try:
        return ask(*arguments)
    except nvml.NVMLError:
        return None


# --- nvidia-smi -----------------------------------------------------------------------------

_BASIC_FIELDS = ("index", "name", "memory.total", "memory.free", "driver_version")
#: Unknown fields make the whole query fail, so older drivers are asked for fewer.
_FIELDS = (
    *_BASIC_FIELDS, "compute_cap", "uuid", "mig.mode.current", "display_active", "memory.reserved",
)  # fmt: skip
_FIELD_SETS = (_FIELDS, _FIELDS[:-1], (*_BASIC_FIELDS, "uuid"))
_UNITS = "--format=csv,noheader,nounits"


def _from_nvidia_smi() -> list[Gpu]:
    smi = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    if smi is None:
        return []
    for fields in _FIELD_SETS:
        text = _run(smi, f"--query-gpu={','.join(fields)}", _UNITS)
        if text is None:
            continue
        found = parse_nvidia_smi(text, fields)
        holders = parse_holders(
            _run(smi, "--query-compute-apps=gpu_uuid,pid,process_name,used_memory", _UNITS) or ""
        )
        if "Enabled" in text:
            found = with_mig_instances(found, _run(smi, "-L") or "", _run(smi) or "")
        return [replace(gpu, holders=tuple(holders.get(gpu.uuid, ()))) for gpu in found]
    return []


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False,
            timeout=PROBE_TIMEOUT_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def parse_nvidia_smi(text: str, fields: tuple[str, ...] = _FIELDS) -> list[Gpu]:
    """Lines of `nvidia-smi --query-gpu=FIELDS --format=csv,noheader,nounits` (memory in MiB) ->
    GPUs. A line it does not understand is left out; a cell like [N/A] is taken as unknown."""
    found = []
    for cells in csv.reader(text.splitlines(), skipinitialspace=True):
        row = dict(zip(fields, (cell.strip() for cell in cells), strict=False))
        total, free = _number(row.get("memory.total")), _number(row.get("memory.free"))
        index, name, driver = row.get("index", ""), row.get("name", ""), row.get("driver_version")
        if len(cells) != len(fields) or not index.isdigit() or not driver:
            continue
        if (total is None or free is None) and row.get("mig.mode.current") != "Enabled":
            continue
        found.append(
            Gpu(
                index=int(index),
                name=name,
                total_gib=(total or 0.0) / MIB_PER_GIB,
                free_gib=(free or 0.0) / MIB_PER_GIB,
                driver=driver,
                compute_capability=_number(row.get("compute_cap")) or _capability_of(name),
                reserved_gib=(_number(row.get("memory.reserved")) or 0.0) / MIB_PER_GIB,
                cuda=newest_cuda(driver),
                uuid=row.get("uuid", ""),
                mig="parent" if row.get("mig.mode.current") == "Enabled" else "",
                shows_display=row.get("display_active") == "Enabled",
            )
        )
    return found


def parse_holders(text: str) -> dict[str, list[Holder]]:
    """Lines of `nvidia-smi --query-compute-apps=gpu_uuid,pid,process_name,used_memory`, by the
    GPU's uuid."""
    found: dict[str, list[Holder]] = {}
    for cells in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(cells) != 4 or not cells[1].strip().isdigit():
            continue
        used = _number(cells[3])
        one = holder(int(cells[1]), None if used is None else used / MIB_PER_GIB, cells[2].strip())
        found.setdefault(cells[0].strip(), []).append(one)
    return found


_LISTED_GPU = re.compile(r"^GPU (\d+): ")
_LISTED_MIG = re.compile(r"^\s+MIG (\S+)\s+Device\s+(\d+): \(UUID: (MIG-[^)]+)\)")
_MIG_ROW = re.compile(
    r"^\|\s+(?P<gpu>\d+)\s+\d+\s+\d+\s+(?P<device>\d+)\s+\|\s+(?P<used>\d+)MiB\s*/\s*(?P<total>\d+)MiB"
)


def with_mig_instances(found: list[Gpu], listing: str, table: str) -> list[Gpu]:
    """GPUs whose MIG mode is on -> their instances. listing: `nvidia-smi -L`, table: the plain
    `nvidia-smi`, the only place where it prints an instance's memory."""
    memory = {
        (int(row["gpu"]), int(row["device"])): (int(row["total"]), int(row["used"]))
        for row in map(_MIG_ROW.match, table.splitlines())
        if row
    }
    parents = {gpu.index: gpu for gpu in found if gpu.mig}
    result = [gpu for gpu in found if not gpu.mig]
    parent = None
    for line in listing.splitlines():
        listed = _LISTED_GPU.match(line)
        if listed:
            parent = parents.get(int(listed[1]))
        part = _LISTED_MIG.match(line)
        if not part or parent is None:
            continue
        total, used = memory.get((parent.index, int(part[2])), (_profile_mib(part[1]), 0))
        result.append(
            replace(
                parent,
                name=f"{parent.name} MIG {part[1]}",
                mig=part[1],
                uuid=part[3],
                total_gib=total / MIB_PER_GIB,
                free_gib=(total - used) / MIB_PER_GIB,
                reserved_gib=0.0,
            )
        )
    return sorted(result, key=lambda gpu: gpu.index)


def _profile_mib(profile: str) -> int:
    """Where the table does not show an instance: the size in its name, less what was seen to be
    missing of it (1g.10gb has 9728 MiB)."""
    size = re.search(r"\.(\d+)gb", profile)
    return int(int(size[1]) * 1024 * 0.95) if size else 0


def _number(text: str | None) -> float | None:
    try:
        return float((text or "").removesuffix("MiB"))
    except ValueError:
        return None


def _capability_of(name: str) -> float:
    return next((number for part, number in _CAPABILITY_OF_NAME if part in name), 0.0)


# --- what it means --------------------------------------------------------------------------


def holder(pid: int, gib: float | None, command: str = "") -> Holder:
    """A process that holds GPU memory, with its command and whether it is a server of ours."""
    try:
        process = psutil.Process(pid)
        command = " ".join(process.cmdline())[:60] or process.name()
    except psutil.Error:
        command = command or "a process that is not visible here (another container or user)"
    return Holder(pid, command, gib, _is_ours(pid))


def _is_ours(pid: int) -> bool:
    try:
        group = os.getpgid(pid)
    except OSError:
        return False
    return any(group == record.pid for record in registry.living())


def newest_cuda(driver: str) -> str:
    """The newest CUDA version that a driver runs; "" for one that is not in the table.

    >>> newest_cuda("550.54.15")
    '12.4'
    """
    branch = driver_number(driver)[0]
    return next((cuda for start, cuda in _CUDA_OF_DRIVER if branch >= start), "")


def driver_number(driver: str) -> tuple[int, int]:
    """(branch, release) for comparisons; (0, 0) when there is none."""
    parts = [int(part) for part in re.findall(r"\d+", driver)[:2]]
    return (parts[0], parts[1]) if len(parts) == 2 else (0, 0)


def what_driver_means(driver: str) -> tuple[bool, str]:
    """(usable, words): which of the two generations of vLLM wheels this driver runs."""
    number = driver_number(driver)
    if number >= DRIVER_FOR_CUDA_13:
        return True, "runs vLLM 0.32.0 (CUDA 13)"
    if number >= DRIVER_FOR_CUDA_12:
        return True, "runs vLLM 0.19.1 (CUDA 12); vLLM 0.32.0 needs driver 580.65 or newer"
    return False, "is too old for every vLLM that serves this reranker: 525 or newer is needed"


def what_capability_means(capability: float) -> str:
    """In words: what vLLM 0.32 does on a chip (its platform and attention code).

    >>> what_capability_means(8.6)
    'bfloat16, FlashAttention; fp8 saves memory but no time'
    """
    if capability <= 0:
        return "compute capability unknown"
    if capability < OLDEST_CAPABILITY:
        return "too old for vLLM 0.32: compute capability 7.5 or newer is needed"
    if capability < 8.0:
        return "float16 only (no bfloat16), Triton attention; fp8 saves memory but no time"
    if capability < 8.9:
        return "bfloat16, FlashAttention; fp8 saves memory but no time"
    return "bfloat16, FlashAttention, computes in fp8"
