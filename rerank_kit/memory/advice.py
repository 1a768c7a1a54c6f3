"""The settings that make a plan come true, each with its reason, and what else to know."""

from __future__ import annotations

import math

from rerank_kit import machine
from rerank_kit.memory.devices import Device
from rerank_kit.memory.memory_plan import MemoryPlan, Setting, is_supported
from rerank_kit.models import GIB, ModelFacts
from rerank_kit.quantisation import QUANTISED_FORMS, published

#: What a process takes on the card before vLLM looks at it for the first time: total less free
#: in the line "Free memory on device". Published logs: 0.41 (A100), 0.51 (3090), 0.50 (5090).
CUDA_CONTEXT_GIB = 0.5
_VLLM_UTILISATION = 0.92


def settings_of(made: MemoryPlan) -> list[Setting]:
    """The recommended flags of vLLM, in the order in which they are printed."""
    device, gib = made.device, made.kv_cache_memory_bytes / GIB
    if device.kind == "cpu":
        why_dtype = (
            "this processor computes in it" if device.fast_bfloat16
            else "this processor has no bfloat16 arithmetic"
        )  # fmt: skip
    elif made.dtype == "float16":
        why_dtype = "bfloat16 needs compute capability 8.0"
    else:
        why_dtype = "the format the model was published in"
    chosen = [
        Setting("--dtype", made.dtype, why_dtype),
        Setting("--max-model-len", str(made.max_model_len),
                "the longest query + document; longer ones are refused"),
        Setting("--max-num-batched-tokens", str(made.max_num_batched_tokens),
                "tokens a step; more is quicker and takes more activations"),
        Setting("--kv-cache-memory-bytes", str(made.kv_cache_memory_bytes),
                f"{gib:.2f} GiB are enough: a reranker keeps no conversation"),
    ]  # fmt: skip
    if device.kind == "gpu":
        share = utilisation(made)
        if share < _VLLM_UTILISATION:
            chosen.append(
                Setting("--gpu-memory-utilization", f"{share:.2f}",
                        "this share must be free at the start; the default 0.92 is too much")
            )  # fmt: skip
    form = QUANTISED_FORMS.get(made.quantisation)
    if form is not None and form.flag:
        native = form.native_capability or 99.0
        gain = "this GPU computes in it" if device.compute_capability >= native else (
            "saves memory" if device.compute_capability <= 0 else "saves memory but no time"
        )
        chosen.append(Setting("--quantization", form.flag, f"half the linear weights; {gain}"))
    return chosen


def utilisation(made: MemoryPlan) -> float:
    """The share of the card that the server will hold, rounded up: what vLLM's check at the
    start should ask for. The context is not in it: it exists before vLLM looks."""
    counted = made.peak_gib - CUDA_CONTEXT_GIB
    share = math.ceil(counted / made.device.usable_gib * 100) / 100
    return min(_VLLM_UTILISATION, max(0.05, share))


def notes_on(facts: ModelFacts, device: Device, form: str) -> list[str]:
    """What a number in a table would hide, in whole sentences."""
    notes = []
    if facts.loading_gib():
        notes.append(
            f"Loading holds {facts.loading_gib():.2f} GiB more for a moment: this model has an "
            "output head of its own, which vLLM drops."
        )
    if device.kind == "gpu" and 0 < device.compute_capability < machine.gpu.OLDEST_CAPABILITY:
        notes.append("vLLM 0.32 does not run on this chip: compute capability 7.5 or newer.")
    elif not is_supported(device, form):
        need = QUANTISED_FORMS[form].minimum_capability
        notes.append(
            "Quantised forms are not planned for the CPU build." if device.kind == "cpu"
            else f"{form} needs compute capability {need}."
        )  # fmt: skip
    if form and QUANTISED_FORMS[form].needs_checkpoint and not facts.quantised:
        found = ", ".join(published(facts.name, form)) or "none is known for this model"
        notes.append(f"{form} needs a checkpoint that somebody quantised before: {found}.")
    if 0 < device.compute_capability < 8.0 and device.kind == "gpu" and facts.layers > 28:
        notes.append("float16 accuracy of the 4B and 8B was not measured: run the doctor.")
    return notes
