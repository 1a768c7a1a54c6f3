"""What this machine has: GPU and driver, memory, disk, hubs, the installed vLLM. Only looks.

detection.py finds the GPUs (through nvml.py or nvidia_smi.py), gpu.py says what they are and
can do, host.py the machine around them, compiler.py what Triton compiles with, orphans.py what is
left of killed servers, network.py the hubs, findings.py and gpu_findings.py the lines.
"""

from __future__ import annotations

from rerank_kit.machine.detection import gpus
from rerank_kit.machine.finding import Finding
from rerank_kit.machine.findings import report
from rerank_kit.machine.gpu import Gpu, Holder
from rerank_kit.machine.host import (
    HostMemory,
    cpu_flags,
    free_port,
    host_memory,
    installed_vllm,
    port_is_free,
)
from rerank_kit.machine.nvidia_smi import parse_nvidia_smi
from rerank_kit.machine.orphans import Orphan, orphans
from rerank_kit.models import GIB

__all__ = [
    "GIB",
    "Finding",
    "Gpu",
    "Holder",
    "HostMemory",
    "Orphan",
    "cpu_flags",
    "free_port",
    "gpus",
    "host_memory",
    "installed_vllm",
    "orphans",
    "parse_nvidia_smi",
    "port_is_free",
    "report",
]
