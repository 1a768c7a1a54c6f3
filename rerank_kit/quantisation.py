"""Weights in fewer bits: which forms vLLM serves, what each needs, who published some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rerank_kit.errors import InputError


@dataclass(frozen=True)
class QuantisedForm:
    """A way to store the weights of the linear layers in fewer bits. Embeddings and norms stay
    in 16 bits. minimum_capability is what vLLM asks of the GPU; native_capability is where it
    also computes in it (below, it saves memory but no time)."""

    name: str
    bytes_per_weight: float
    minimum_capability: float
    native_capability: float | None
    flag: str  # the value of --quantization; "" when the checkpoint itself says it
    needs_checkpoint: bool  # made by somebody beforehand, instead of while loading
    source: str


_LOADING = "vLLM 0.32.0, model_executor/layers/quantization/online: one layer after the other"
_INT4 = "4 bits, and per group of 128 a 16-bit scale and a 4-bit zero: 0.52 bytes a weight"

#: Quantised forms by the name that `--quantization` of this kit takes.
QUANTISED_FORMS = {
    form.name: form
    for form in (
        QuantisedForm("fp8_per_tensor", 1.0, 7.5, 8.9, "fp8_per_tensor", False, _LOADING),
        QuantisedForm("fp8_per_channel", 1.0, 7.5, 8.9, "fp8_per_channel", False, _LOADING),
        QuantisedForm("fp8_per_block", 1.0, 7.5, 8.9, "fp8_per_block", False, _LOADING),
        QuantisedForm("mxfp8", 1.03125, 7.5, 10.0, "mxfp8", False, _LOADING),
        QuantisedForm("awq", 0.5 + 2.5 / 128, 7.5, None, "", True, _INT4),
        QuantisedForm("gptq", 0.5 + 2.5 / 128, 6.0, None, "", True, _INT4),
        QuantisedForm(
            "fp8_checkpoint", 1.0, 7.5, 8.9, "", True, "a checkpoint whose linear layers are fp8"
        ),
        QuantisedForm(
            "int8_checkpoint", 1.0, 7.5, 7.5, "", True,
            "compressed-tensors W8A8 (vLLM 0.32.0, compressed_tensors_w8a8_int8.py)",
        ),
    )
}
#: What people say for them.
QUANTISATION_NAMES = {
    "fp8": "fp8_per_channel",
    "int8": "int8_checkpoint",
    "int4": "awq",
    "auto_awq": "awq",
    "auto_gptq": "gptq",
}
#: Values of vLLM's --quantization that change nothing here: they quantise the experts of a
#: mixture-of-experts model and leave ordinary layers as they are (vLLM 0.32.0,
#: config/quantization.py, _ONLINE_SHORTHANDS: no `linear` field).
EXPERTS_ONLY = ("int8_per_channel_weight_only", "nvfp4_per_token")


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A quantised form of a Qwen3-Reranker that somebody published. None was downloaded or run
    by this project: a launch checks every one by its known answer."""

    name: str
    base: str
    form: str  # a QUANTISED_FORMS name
    source: str


#: Qwen publishes no quantised reranker itself (QwenLM/Qwen3-Embedding issue 100, open). W8A8
#: int8: none found. GGUF files are for llama.cpp, not for vLLM.
PUBLISHED = (
    PublishedCheckpoint(
        "boboliu/Qwen3-Reranker-4B-W4A16-G128", "Qwen/Qwen3-Reranker-4B", "awq",
        "named in public repositories; compressed-tensors, 4 bits in groups of 128",
    ),
    PublishedCheckpoint(
        "datapizza-ai-lab/Qwen3-Reranker-4B-AWQ-4bit", "Qwen/Qwen3-Reranker-4B", "awq",
        "a public rehearsal log on vLLM 0.28 and an RTX 3090: 3.2 GiB, compressed-tensors",
    ),
    PublishedCheckpoint(
        "drawais/Qwen3-Reranker-4B-AWQ-INT4", "Qwen/Qwen3-Reranker-4B", "awq",
        "named in a public repository's settings",
    ),
    PublishedCheckpoint(
        "DCC-BS/Qwen3-Reranker-4B-FP8-Dynamic", "Qwen/Qwen3-Reranker-4B", "fp8_checkpoint",
        "the same rehearsal log: 4.8 GiB, for compute capability 8.9",
    ),
    *(
        PublishedCheckpoint(
            f"Forturne/Qwen3-Reranker-{size}-FP8", f"Qwen/Qwen3-Reranker-{size}",
            "fp8_checkpoint", "its maker's notes: scores were wrong on vLLM 0.16 (lost head)",
        )
        for size in ("0.6B", "4B", "8B")
    ),
)  # fmt: skip


def quantisation_name(wanted: str | None) -> str:
    """What a person calls it -> a QUANTISED_FORMS name; "" for none. Raises InputError."""
    if not wanted or wanted.lower() in ("none", "bf16", "bfloat16", "fp16", "float16", "half"):
        return ""
    name = QUANTISATION_NAMES.get(wanted.lower(), wanted.lower())
    if name in EXPERTS_ONLY:
        raise InputError(
            f"{wanted} saves nothing here: vLLM applies it to mixture-of-experts layers only, "
            "and Qwen3-Reranker has none.",
            hint="fp8 quantises while loading; for int8 use a W8A8 checkpoint",
        )
    if name not in QUANTISED_FORMS:
        names = ", ".join(("none", *QUANTISATION_NAMES, *QUANTISED_FORMS))
        raise InputError(f"{wanted!r} is no quantisation known here.", hint=f"use one of {names}")
    return name


def form_of_checkpoint(found: dict[str, Any]) -> tuple[str, float]:
    """quantization_config of a checkpoint -> (form, bytes per linear weight)."""
    method = str(found.get("quant_method") or "").lower()
    if not method:
        return "", 0.0
    bits, kind = found.get("bits") or found.get("w_bit"), ""
    if method == "compressed-tensors":
        groups = list((found.get("config_groups") or {}).values())
        stored = (groups[0].get("weights") or {}) if groups else {}
        bits, kind = stored.get("num_bits", 8), stored.get("type", "")
    bits = int(bits or 8)
    form = {4: "gptq" if "gptq" in method else "awq"}.get(bits, "fp8_checkpoint")
    if form == "fp8_checkpoint" and kind == "int":
        form = "int8_checkpoint"
    group = int(found.get("group_size") or 128)
    extra = 2.5 / group if bits < 8 and group > 0 else 0.0
    return form, bits / 8 + extra


def published(base: str, form: str) -> list[str]:
    """Names of published checkpoints of a model in this form."""
    return [one.name for one in PUBLISHED if (one.base, one.form) == (base, form)]
