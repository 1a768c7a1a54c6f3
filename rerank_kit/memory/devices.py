"""What a server may use: a card by name, a number of GiB, or this machine."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from rerank_kit import machine
from rerank_kit.errors import InputError


@dataclass(frozen=True)
class Device:
    """What a server may use. usable_gib: as cudaMemGetInfo counts it, or main memory for "cpu".
    measured: it is this machine and the numbers were read, not looked up."""

    name: str
    usable_gib: float
    free_gib: float
    compute_capability: float = 0.0
    kind: str = "gpu"
    measured: bool = False
    fast_bfloat16: bool = True  # cpu only: the processor computes in it

    @property
    def dtype(self) -> str:
        if self.kind == "cpu":
            return "bfloat16" if self.fast_bfloat16 else "float32"
        return "float16" if 0 < self.compute_capability < 8.0 else "bfloat16"


@dataclass(frozen=True)
class Card:
    """A GPU by name. usable_gib: the total that cudaMemGetInfo gives (as PyTorch's own messages
    print it: "GPU 0 has a total capacity of ..."), always less than the number on the box."""

    name: str
    usable_gib: float
    compute_capability: float
    words: tuple[str, ...]
    display_gib: float = 0.0  # what a desktop on the same card takes


#: Usable totals as seen in published out-of-memory messages and vLLM logs.
CARDS = (
    Card("Laptop 6 GB", 5.7, 8.6, ("laptop6", "rtx3060laptop", "3060laptop"), 0.7),
    Card("Laptop 8 GB", 7.6, 8.9, ("laptop8", "laptop", "rtx4060laptop", "4060laptop",
                                   "rtx4070laptop", "4070laptop"), 0.7),
    Card("RTX 4060", 7.6, 8.9, ("rtx4060", "4060")),
    Card("RTX 3060 12 GB", 11.6, 8.6, ("rtx3060", "3060", "rtx306012")),
    Card("RTX 2080 Ti", 10.6, 7.5, ("rtx2080ti", "2080ti")),
    Card("RTX 4070", 11.6, 8.9, ("rtx4070", "4070")),
    Card("T4", 14.57, 7.5, ("t4", "teslat4")),
    Card("V100 16 GB", 15.77, 7.0, ("v100", "v10016")),
    Card("V100 32 GB", 31.73, 7.0, ("v10032",)),
    Card("RTX 4080", 15.6, 8.9, ("rtx4080", "4080")),
    Card("L4", 22.03, 8.9, ("l4",)),
    Card("A10", 22.06, 8.6, ("a10",)),
    Card("A10G", 22.06, 8.6, ("a10g",)),
    Card("RTX 3090", 23.56, 8.6, ("rtx3090", "3090")),
    Card("RTX 4090", 23.52, 8.9, ("rtx4090", "4090")),
    Card("RTX 5090", 31.36, 12.0, ("rtx5090", "5090")),
    Card("A100 40 GB", 39.4, 8.0, ("a10040", "a100sxm440", "a100pcie40")),
    Card("L40S", 44.4, 8.9, ("l40s", "l40")),
    Card("A6000", 47.4, 8.6, ("a6000", "rtxa6000")),
    Card("A100 80 GB", 79.2, 8.0, ("a10080", "a100sxm480", "a100pcie80")),
    Card("H100 80 GB", 79.1, 9.0, ("h100", "h10080", "h10080hbm3", "h100pcie")),
    Card("RTX PRO 6000", 94.97, 12.0, ("rtxpro6000", "pro6000")),
    Card("H200", 139.8, 9.0, ("h200",)),
    Card("B200", 178.4, 10.0, ("b200",)),
    Card("A100 MIG 1g.10gb", 9.5, 8.0, ("mig1g10", "a100mig1g10")),
    Card("A100 MIG 2g.20gb", 19.5, 8.0, ("mig2g20", "a100mig2g20")),
    Card("A100 MIG 3g.40gb", 39.25, 8.0, ("mig3g40", "a100mig3g40")),
)  # fmt: skip


def device_named(name: str) -> Device:
    """A card by name ("T4", "RTX 4090", "A100 80GB", "laptop 8 GB"), empty but for a desktop
    where it usually shows one. Raises InputError with the names that are known."""
    wanted = _plain(name)
    exact = [card for card in CARDS if wanted in card.words or wanted == _plain(card.name)]
    close = exact or [
        card for card in CARDS if any(word.startswith(wanted) for word in card.words) and wanted
    ]
    if len(close) == 1:
        card = close[0]
        return Device(card.name, card.usable_gib, card.usable_gib - card.display_gib,
                      card.compute_capability)  # fmt: skip
    names = ", ".join(card.name for card in (close or CARDS))
    said = f"{name!r} can be several cards." if close else f"No card {name!r} is known here."
    raise InputError(said, hint=f"say one of: {names}; or use --memory-gib")


def device_of(memory_gib: float) -> Device:
    """Any card with this much memory free. Raises InputError for sizes that no card has."""
    if not math.isfinite(memory_gib) or not 0.5 <= memory_gib <= 2000:
        raise InputError(
            f"{memory_gib} GiB is no size of a GPU.", hint="e.g. --memory-gib 24"
        )
    return Device(f"a GPU with {memory_gib:g} GiB", memory_gib, memory_gib)


def device_here(profile: str = "auto") -> Device:
    """This machine: its GPU with the most free memory, else its main memory (profile cpu: that
    in any case)."""
    found = [] if profile in ("cpu", "practice") else machine.gpus()
    if found:
        return device_from(max(found, key=lambda gpu: gpu.free_gib))
    memory = machine.host_memory()
    fast = bool({"amx_bf16", "avx512_bf16"} & machine.cpu_flags())
    return Device("this machine's main memory", memory.total_gib, memory.free_gib, 0.0, "cpu",
                  measured=True, fast_bfloat16=fast)  # fmt: skip


def device_from(gpu: machine.Gpu) -> Device:
    """A GPU of this machine as the plan needs it."""
    usable = gpu.usable_gib
    if not gpu.reserved_gib and not gpu.mig and gpu.total_gib > 1:
        usable -= 0.45  # what the driver keeps where it does not say: 0.43 on T4 and A10, 0.47 4090
    return Device(gpu.name, usable, min(gpu.free_gib, usable), gpu.compute_capability,
                  measured=True)  # fmt: skip


def _plain(name: str) -> str:
    text = name.lower().replace("nvidia", "").replace("geforce", "").replace("tesla", "")
    text = re.sub(r"(?<=\d)\s*gi?b\b", "", text)
    return re.sub(r"[^a-z0-9]", "", text)
