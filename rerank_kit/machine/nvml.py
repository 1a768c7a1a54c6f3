"""Ask NVML, the library that nvidia-smi itself uses, which GPUs there are."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from rerank_kit.machine.gpu import Gpu, holder, newest_cuda
from rerank_kit.models import GIB

#: NVML can hang on a sick driver; nothing here may wait longer.
TIMEOUT_SECONDS = 10.0


def found_by_nvml() -> list[Gpu] | None:
    """None when NVML cannot be asked here, or does not answer in time."""
    result: list[list[Gpu] | None] = [None]

    def ask() -> None:
        result[0] = _ask_nvml()

    thread = threading.Thread(target=ask, daemon=True, name="nvml")
    thread.start()
    thread.join(TIMEOUT_SECONDS)
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
