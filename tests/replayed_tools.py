"""Plays back recordings of tools that a test machine does not have: nvidia-smi and NVML.

Run as a program it IS nvidia-smi for one recording: python replayed_tools.py FOLDER ARGUMENTS.
"""

from __future__ import annotations

import csv
import json
import sys
import types
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "recordings"


def put_nvidia_smi_on_path(name: str, folder: Path) -> Path:
    """A command nvidia-smi in `folder` that answers as the recording `name` says."""
    command = folder / "nvidia-smi"
    recording = RECORDINGS / "nvidia_smi" / name
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "{recording}" "$@"\n')
    command.chmod(0o755)
    return folder


def nvidia_smi(recording: Path, arguments: list[str]) -> int:
    failure = recording / "failure.txt"
    if failure.exists():
        print(failure.read_text(), end="")
        return int((recording / "exit_status").read_text())
    for argument in arguments:
        if argument.startswith("--query-gpu="):
            return _print_columns(recording / "query.csv", argument.split("=", 1)[1].split(","))
        if argument.startswith("--query-compute-apps="):
            return _print_columns(recording / "compute_apps.csv", ())
    shown = recording / ("list.txt" if "-L" in arguments else "table.txt")
    print(shown.read_text() if shown.exists() else "", end="")
    return 0


def _print_columns(path: Path, wanted: tuple[str, ...] | list[str]) -> int:
    """--format=csv,noheader,nounits of the fields asked for; an unknown one fails, as there."""
    if not path.exists():
        return 0
    header, *rows = csv.reader(path.read_text().splitlines(), skipinitialspace=True)
    names = [cell.split(" [")[0] for cell in header]
    for field in wanted:
        if field not in names:
            print(f'Field "{field}" is not a valid field to query.\n')
            return 2
    for row in rows:
        cells = dict(zip(names, (cell.removesuffix(" MiB") for cell in row), strict=True))
        print(", ".join(cells[field] for field in wanted or names))
    return 0


class NVMLError(Exception):
    """As nvidia-ml-py's: the number says which."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value


_NOT_SUPPORTED, _NOT_FOUND, _NO_FUNCTION = 3, 6, 13


def nvml(name: str) -> types.ModuleType:
    """The module pynvml on the machine of the recording `name`."""
    data = json.loads((RECORDINGS / "nvml" / f"{name}.json").read_text())
    module: Any = types.ModuleType("pynvml")
    module.NVMLError = NVMLError
    module.nvmlMemory_v2 = 0x02000028

    def start() -> None:
        if "init_error" in data:
            raise NVMLError(data["init_error"])

    def known(value: Any, error: int = _NOT_SUPPORTED) -> Any:
        if value is None:
            raise NVMLError(error)
        return value

    def memory(device: dict[str, Any], version: int | None = None) -> types.SimpleNamespace:
        fields = dict(device["memory"])
        if version is None:
            fields.pop("reserved")
        elif data.get("old"):
            raise NVMLError(_NO_FUNCTION)
        return types.SimpleNamespace(**fields)

    def instance(device: dict[str, Any], number: int) -> dict[str, Any]:
        return known(device["mig"][number], _NOT_FOUND)

    module.nvmlInit = start
    module.nvmlShutdown = lambda: None
    module.nvmlSystemGetDriverVersion = lambda: data["driver"]
    module.nvmlSystemGetCudaDriverVersion = lambda: data["cuda"]
    module.nvmlDeviceGetCount = lambda: len(data["devices"])
    module.nvmlDeviceGetHandleByIndex = lambda index: data["devices"][index]
    module.nvmlDeviceGetName = lambda device: device["name"]
    module.nvmlDeviceGetMemoryInfo = memory
    module.nvmlDeviceGetUUID = lambda device: device["uuid"]
    module.nvmlDeviceGetCudaComputeCapability = lambda device: known(device["capability"])
    module.nvmlDeviceGetMigMode = lambda device: known(device["mig_mode"])
    module.nvmlDeviceGetMaxMigDeviceCount = lambda device: len(device["mig"])
    module.nvmlDeviceGetMigDeviceHandleByIndex = instance
    module.nvmlDeviceGetDisplayActive = lambda device: device["display_active"]
    module.nvmlDeviceGetComputeRunningProcesses = lambda device: [
        types.SimpleNamespace(**process) for process in device["processes"]
    ]
    return module


if __name__ == "__main__":
    sys.exit(nvidia_smi(Path(sys.argv[1]), sys.argv[2:]))
