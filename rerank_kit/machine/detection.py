"""Which NVIDIA GPUs can be used here: NVML is asked first, nvidia-smi where it cannot."""

from __future__ import annotations

import os

from rerank_kit.machine.gpu import Gpu
from rerank_kit.machine.nvidia_smi import found_by_nvidia_smi
from rerank_kit.machine.nvml import found_by_nvml


def gpus() -> list[Gpu]:
    """The NVIDIA GPUs that can be used here, as CUDA_VISIBLE_DEVICES allows; empty without a
    driver, or when neither NVML nor nvidia-smi answers."""
    found = found_by_nvml()
    if found is None:
        found = found_by_nvidia_smi()
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
