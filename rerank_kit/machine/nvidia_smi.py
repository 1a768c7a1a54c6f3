"""Ask nvidia-smi which GPUs there are: the fall-back where NVML's Python binding is missing.

`parse_...` functions take the tool's text; tests feed them recorded text.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from dataclasses import replace

from rerank_kit.machine.gpu import Gpu, Holder, holder, newest_cuda

MIB_PER_GIB = 1024
#: nvidia-smi can hang on a sick driver; nothing here may wait longer.
TIMEOUT_SECONDS = 15.0
#: Only for drivers older than 510, whose nvidia-smi does not know the field compute_cap.
_CAPABILITY_OF_NAME = (
    ("T4", 7.5), ("RTX 20", 7.5), ("Quadro RTX", 7.5), ("GTX 16", 7.5), ("V100", 7.0),
    ("A100", 8.0), ("A30", 8.0), ("H100", 9.0), ("H200", 9.0), ("L4", 8.9), ("RTX 40", 8.9),
    ("A10", 8.6), ("RTX 30", 8.6), ("A6000", 8.6), ("A40", 8.6), ("P100", 6.0), ("GTX 10", 6.1),
)  # fmt: skip

_BASIC_FIELDS = ("index", "name", "memory.total", "memory.free", "driver_version")
#: Unknown fields make the whole query fail, so older drivers are asked for fewer.
_FIELDS = (
    *_BASIC_FIELDS, "compute_cap", "uuid", "mig.mode.current", "display_active", "memory.reserved",
)  # fmt: skip
_FIELD_SETS = (_FIELDS, _FIELDS[:-1], (*_BASIC_FIELDS, "uuid"))
_UNITS = "--format=csv,noheader,nounits"


def found_by_nvidia_smi() -> list[Gpu]:
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
            timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL,
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
