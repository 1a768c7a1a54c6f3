"""What a GPU is, who holds its memory, and what its chip and its driver can do."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import psutil

from rerank_kit import registry

#: Driver branch -> newest CUDA it runs (CUDA release notes, table of driver versions; the newer
#: ones as their nvidia-smi prints them). NVML says it itself, nvidia-smi only in its table.
_CUDA_OF_DRIVER = (
    (595, "13.2"), (590, "13.1"), (580, "13.0"), (575, "12.9"), (570, "12.8"), (565, "12.7"),
    (560, "12.6"), (555, "12.5"), (550, "12.4"), (545, "12.3"), (535, "12.2"), (530, "12.1"),
    (525, "12.0"), (520, "11.8"), (515, "11.7"), (510, "11.6"), (495, "11.5"), (470, "11.4"),
    (450, "11.0"),
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
