"""Which server for which machine: a profile and a model -> ServerSettings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from rerank_kit import machine, memory, models, other_rerankers, registry, versions
from rerank_kit.errors import InputError, SetupError
from rerank_kit.quantisation import quantisation_name
from rerank_kit.server.settings import RESERVED_FLAGS, ServerSettings

PROFILES = ("auto", "practice", "cpu", "gpu", "remote")
MIB = 2**20


def choose_profile(wanted: str = "auto") -> tuple[str, str]:
    """(profile, why). auto is remote if a URL is set, else gpu, else practice."""
    if wanted not in PROFILES:
        raise InputError(f"{wanted!r} is no profile.", hint=f"use one of {', '.join(PROFILES)}")
    if wanted == "remote" and not os.environ.get("RERANK_URL"):
        raise InputError(
            "The remote profile needs the server's address.",
            hint="export RERANK_URL=http://127.0.0.1:8000 (and RERANK_API_KEY if it has a key)",
        )
    if wanted != "auto":
        return wanted, "you chose it"
    if os.environ.get("RERANK_URL"):
        return "remote", "RERANK_URL is set"
    if machine.gpus():
        return "gpu", "this machine has an NVIDIA GPU"
    return "practice", "no GPU here and no RERANK_URL set"


def settings_for(
    profile: str, model: str | None = None, extra_args: tuple[str, ...] = ()
) -> ServerSettings:
    """The settings of a local profile (practice, cpu or gpu). Raises InputError for flags the
    kit sets itself and for a model that cannot be; SetupError when vLLM is missing."""
    for argument in extra_args:
        name = argument.split("=", 1)[0]
        if name in RESERVED_FLAGS:
            raise InputError(f"{name} cannot be passed on to vLLM here.", hint=RESERVED_FLAGS[name])
    installed = machine.installed_vllm()
    if installed is None:
        raise SetupError("vLLM is not installed here.", hint="bash scripts/start.sh --setup-only")
    facts = versions.facts_of(installed[1])
    if facts.prompt == versions.REFUSED:
        raise SetupError(
            f"The installed vLLM {installed[1]} cannot give the official scores.",
            evidence=facts.refused_because,
            hint="RERANK_KIT_BUILD=cpu (or gpu, gpu-cuda12) bash scripts/start.sh --setup-only",
        )
    builder = {"practice": _practice, "cpu": _cpu, "gpu": _gpu}[profile]
    settings = _limited(builder(model, tuple(extra_args)))
    if profile != "practice" and "/" not in settings.model:
        settings = replace(settings, served_name=settings.model)
    settings = replace(settings, extra_args=tuple(extra_args), vllm_version=installed[1])
    return _with_cpu_kv_cache(settings, facts) if _on_cpu() else settings


def _with_cpu_kv_cache(settings: ServerSettings, facts: versions.VersionFacts) -> ServerSettings:
    """Older CPU builds accept --kv-cache-memory-bytes and do not read it: they take most of the
    memory, unless this variable says how many whole GiB."""
    if facts.cpu_reads_kv_flag:
        return settings
    gib = str(-(-settings.kv_cache_memory_bytes // models.GIB))
    environment = settings.environment | {"VLLM_CPU_KVCACHE_SPACE": gib}
    return replace(settings, environment=environment)


def _limited(settings: ServerSettings) -> ServerSettings:
    """Within what another reranker can read. An encoder reads a pair in one piece, so one step
    must hold the longest pair."""
    other = other_rerankers.find(settings.model)
    if other is None:
        return settings
    length = min(settings.max_model_len, other.max_positions)
    step = max(settings.max_num_batched_tokens, length) if other.encoder else 0
    return replace(
        settings, max_model_len=length,
        max_num_batched_tokens=step or settings.max_num_batched_tokens,
    )  # fmt: skip


def _on_cpu() -> bool:
    found = machine.installed_vllm()
    return found is not None and (found[0] == "vllm-cpu" or found[1].endswith("+cpu"))


#: The CPU build keeps one core for itself and, at its block size of 128, shares no prompt
#: prefix between the documents of a query. `uni` runs the worker inside the engine process: one
#: process and 0.7 GiB less than `mp`, and on two idle cores the 0.6B's shape is as fast with it
#: (6.1 and 6.3 pairs/s of 128 tokens, 0.81 and 0.82 of 512; `rerank-kit tune --profile cpu --only
#: distributed-executor-backend` measures yours). With several workers it would wait for ever.
_CPU_FLAGS = ("--block-size", "32")
_ONE_PROCESS = ("--distributed-executor-backend", "uni")
_CPU_ENVIRONMENT = {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


def _cpu_flags(extra_args: tuple[str, ...]) -> tuple[str, ...]:
    return _CPU_FLAGS if _wants_several_gpus(extra_args) else _CPU_FLAGS + _ONE_PROCESS


def _practice(model: str | None, extra_args: tuple[str, ...]) -> ServerSettings:
    """Our own tiny model in float32: free, offline, the same scores on every machine."""
    path = models.resolve(model or models.PRACTICE)
    flags = ("--enforce-eager", *(_cpu_flags(extra_args) if _on_cpu() else ()))
    offline = {"HF_HUB_OFFLINE": "1"}
    return ServerSettings(
        profile="practice",
        model=path,
        served_name=models.PRACTICE if model in (None, models.PRACTICE) else Path(path).name,
        dtype="float32",
        max_model_len=4096,
        max_num_batched_tokens=4096,
        kv_cache_memory_bytes=max(
            256 * MIB, memory.kv_cache_bytes(_shape(path), 4096, 4096, value_bytes=4)
        ),
        flags=flags,
        environment=offline | (_CPU_ENVIRONMENT if _on_cpu() else {}),
    )


def _cpu(model: str | None, extra_args: tuple[str, ...]) -> ServerSettings:
    """The real 0.6B on the CPU build. bfloat16 where the processor computes in it."""
    name = models.resolve(model or "0.6B")
    fast_bf16 = bool({"amx_bf16", "avx512_bf16"} & machine.cpu_flags())
    return ServerSettings(
        profile="cpu",
        model=name,
        served_name=name,
        dtype="bfloat16" if fast_bf16 else "float32",
        max_model_len=8192,
        max_num_batched_tokens=4096,
        kv_cache_memory_bytes=memory.kv_cache_bytes(
            _shape(name), 8192, 4096, 2 if fast_bf16 else 4
        ),
        flags=_cpu_flags(extra_args),
        environment=dict(_CPU_ENVIRONMENT),
    )


def _gpu(model: str | None, extra_args: tuple[str, ...]) -> ServerSettings:
    """The model asked for, or the largest that the memory plan says fits with room."""
    found = machine.gpus()
    if not found:
        raise SetupError(
            "The gpu profile needs an NVIDIA GPU, and none answers here.",
            hint="nvidia-smi must list a GPU; without one use the practice profile",
        )
    best = max(found, key=_free_for_us)
    device = replace(memory.device_from(best), free_gib=_free_for_us(best))
    if model is None:
        planned = memory.best_fit(device)
        name = planned.model
        if planned.verdict == memory.DOES_NOT_FIT:
            raise SetupError(
                f"Only {device.free_gib:.1f} GiB of GPU memory are free: too little even for "
                f"{name}, which needs {planned.peak_gib:.1f} GiB.",
                hint="rerank-kit check shows who holds it; or use the practice profile",
            )
    else:
        name = models.resolve(model)
        planned = memory.plan(_shape(name), device, quantization=_quantisation(extra_args))
    recommended = {one.flag: one.value for one in planned.settings}
    flags = ["--renderer-num-workers", str(max(1, min(8, (os.cpu_count() or 2) // 2)))]
    if "--gpu-memory-utilization" in recommended:
        flags += ["--gpu-memory-utilization", recommended["--gpu-memory-utilization"]]
    one_of_several = (len(found) > 1 or best.mig) and not _wants_several_gpus(extra_args)
    return ServerSettings(
        profile="gpu",
        model=name,
        served_name=name,
        dtype=planned.dtype,
        max_model_len=planned.max_model_len,
        max_num_batched_tokens=planned.max_num_batched_tokens,
        kv_cache_memory_bytes=planned.kv_cache_memory_bytes,
        flags=tuple(flags),
        environment=best.visible_devices if one_of_several else {},
    )


def _shape(name: str) -> models.ModelFacts:
    """The model's facts; a hub model of unknown shape is counted like the 8B."""
    try:
        return models.facts_of(name)
    except InputError:
        return models.CATALOGUE["Qwen/Qwen3-Reranker-8B"]


def _free_for_us(gpu: machine.Gpu) -> float:
    """GiB free on a card, counting what our own servers hold: planning a launch that finds its
    server already running must come to the same settings as the launch that started it."""
    ours = [one.gib for one in gpu.holders if one.ours]
    if None in ours or not ours and any(one.profile == "gpu" for one in registry.living()):
        return gpu.usable_gib  # the driver does not say how much (WSL2, containers)
    return min(gpu.usable_gib, gpu.free_gib + sum(one or 0.0 for one in ours))


def _quantisation(extra_args: tuple[str, ...]) -> str | None:
    """The quantisation that the user passes on to vLLM, where the kit knows its size."""
    for place, argument in enumerate(extra_args):
        name, _, value = argument.partition("=")
        if name in ("--quantization", "-q"):
            value = value or (extra_args[place + 1] if place + 1 < len(extra_args) else "")
            try:
                return quantisation_name(value)
            except InputError:
                return None
    return None


def _wants_several_gpus(extra_args: tuple[str, ...]) -> bool:
    several = ("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp",
               "--data-parallel-size", "-dp")  # fmt: skip
    return any(argument.split("=", 1)[0] in several for argument in extra_args)
