"""The memory of one server, term by term, and the settings that make it fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rerank_kit import machine, models
from rerank_kit.errors import InputError
from rerank_kit.memory import show
from rerank_kit.memory.devices import Device
from rerank_kit.memory.log import Measured
from rerank_kit.models import GIB, ModelFacts
from rerank_kit.quantisation import QUANTISED_FORMS, published, quantisation_name

FITS, TIGHT, DOES_NOT_FIT = "fits", "tight", "does not fit"

#: What a process takes on the card before vLLM looks at it for the first time: total less free
#: in the line "Free memory on device". Published logs: 0.41 (A100), 0.51 (3090), 0.50 (5090).
CUDA_CONTEXT_GIB = 0.5
#: Libraries and work areas that come with the model ("consumed" less "Model loading took").
#: Published logs: 0.15 (a 6 GB laptop), 0.26 (A100), 0.47 (3090).
LIBRARIES_GIB = 0.35
#: CUDA graphs of a pooling model are piecewise and stop at 512 tokens. Published logs of
#: generators, which capture more: 0.07 to 0.78.
GRAPHS_GIB = 0.3
#: To be called "fits", this much must stay free: fragmentation, and the error of the estimate.
ROOM_GIB, ROOM_SHARE = 0.5, 0.05
#: CPU build, set from the eager starts in notebooks/recorded/memory_cpu.json: Python, PyTorch
#: and vLLM in the two processes of a server (0.5 GiB in the one that answers), 7 MiB of kernels
#: a layer; the matrix kernels' own copy of the embedding table is counted with the model.
CPU_RUNTIME_GIB = 1.32
CPU_LAYER_GIB = 0.007
#: The allocator keeps what a step has freed: 2.1 times the widest moment of a layer.
CPU_ACTIVATION_FACTOR = 2.1
#: What torch.compile keeps. An assumption: compiled starts were not measured.
CPU_COMPILE_GIB = 0.4
#: Main memory that must stay free: a notebook, a browser, the system.
CPU_ROOM_GIB = 1.0

DEFAULT_MAX_MODEL_LEN = 8192
#: (batched tokens, longest pair): the first that fits is taken.
_LADDER = ((8192, 8192), (4096, 8192), (2048, 8192), (2048, 4096), (2048, 2048), (1024, 1024))
#: Below this, a step of 8192 tokens takes the card longer than it takes the host to prepare it.
_BIG_CARD_GIB = 20.0
_VLLM_UTILISATION = 0.92


@dataclass(frozen=True)
class Term:
    """One part of the memory. working: how the number came about, in words."""

    name: str
    gib: float
    working: str
    measured_gib: float | None = None


@dataclass(frozen=True)
class Setting:
    """One recommended flag of vLLM and the reason for it."""

    flag: str
    value: str
    why: str


@dataclass(frozen=True)
class MemoryPlan:
    """The predicted memory of one server. total_gib is what it holds while serving; peak_gib
    what it needs at its highest moment (loading the 8B needs more than serving it)."""

    model: str
    device: Device
    dtype: str
    quantisation: str
    max_model_len: int
    max_num_batched_tokens: int
    kv_cache_memory_bytes: int
    terms: tuple[Term, ...]
    loading_gib: float
    settings: tuple[Setting, ...] = ()
    notes: tuple[str, ...] = ()
    measured: Measured | None = None

    @property
    def total_gib(self) -> float:
        return sum(term.gib for term in self.terms)

    @property
    def peak_gib(self) -> float:
        """Keys, values and activations come after loading, so its extra rarely adds to them."""
        by_name = {term.name: term.gib for term in self.terms}
        later = ("kv_cache", "activations", "graphs", "compiler")
        before = sum(gib for name, gib in by_name.items() if name not in later)
        return max(self.total_gib, before + self.loading_gib)

    @property
    def room_gib(self) -> float:
        """What stays free (negative: what is missing)."""
        return self.device.free_gib - self.peak_gib

    @property
    def verdict(self) -> str:
        """fits (with room for error), tight (it should start, little stays free), does not fit."""
        if self.room_gib < 0 or not _is_supported(self.device, self.quantisation):
            return DOES_NOT_FIT
        return FITS if self.room_gib >= _room_wanted(self) else TIGHT

    def term(self, name: str) -> Term:
        return next(term for term in self.terms if term.name == name)

    def with_measured(self, measured: Measured) -> MemoryPlan:
        """The same plan with the measured value of every term that the log tells."""
        values = measured.terms(self.device)
        terms = tuple(replace(term, measured_gib=values.get(term.name)) for term in self.terms)
        return replace(self, terms=terms, measured=measured)

    def as_dict(self) -> dict[str, Any]:
        """As `rerank-kit plan --json` prints it."""
        groups = {"weights_gib": 0.0, "kv_cache_gib": 0.0, "activations_gib": 0.0}
        groups["overhead_gib"] = 0.0
        for term in self.terms:
            key = f"{term.name}_gib"
            groups[key if key in groups else "overhead_gib"] += term.gib
        return {
            "verdict": self.verdict,
            "model": self.model,
            "quantization": self.quantisation or None,
            "dtype": self.dtype,
            "device": {
                "name": self.device.name,
                "total_gib": round(self.device.usable_gib, 2),
                "free_gib": round(self.device.free_gib, 2),
                "measured": self.device.measured,
            },
            "terms": {key: round(value, 3) for key, value in groups.items()},
            "details": [
                {"name": term.name, "gib": round(term.gib, 3), "working": term.working,
                 "measured_gib": term.measured_gib}
                for term in self.terms
            ],
            "total_gib": round(self.total_gib, 3),
            "peak_gib": round(self.peak_gib, 3),
            "room_gib": round(self.room_gib, 3),
            "settings": {setting.flag: setting.value for setting in self.settings},
            "reasons": {setting.flag: setting.why for setting in self.settings},
            "notes": list(self.notes),
        }  # fmt: skip

    def __str__(self) -> str:
        return show.plan_text(self)


def plan(
    model: str | ModelFacts,
    device: Device,
    *,
    quantization: str | None = None,
    max_model_len: int | None = None,
    max_num_batched_tokens: int | None = None,
    dtype: str | None = None,
    eager: bool = False,
) -> MemoryPlan:
    """The memory of one server on a device (GiB), with the settings that make it small enough.

    model: a short name, a hub id, a folder, or facts. quantization: fp8, int8, awq ...; None
    for the form its files are in. max_model_len, max_num_batched_tokens: tokens; None chooses.
    eager: --enforce-eager, so no compiling and no graphs. Raises InputError for a model whose
    shape is not known, an unknown quantisation or a length that the model cannot read.
    """
    facts = model if isinstance(model, ModelFacts) else models.facts_of(model)
    form = quantisation_name(quantization) or facts.quantised
    if max_model_len is not None and not 1 <= max_model_len <= facts.max_positions:
        raise InputError(
            f"The model reads at most {facts.max_positions} tokens, not {max_model_len}.",
            hint=f"--max-model-len between 1 and {facts.max_positions}",
        )
    best: MemoryPlan | None = None
    for batched, length in _ladder(device, facts, max_model_len, max_num_batched_tokens):
        made = _plan_with(facts, device, form, length, batched, dtype or device.dtype, eager)
        if made.verdict == FITS:
            return made
        if best is None or (best.verdict == DOES_NOT_FIT and made.room_gib > best.room_gib):
            best = made
    assert best is not None
    return best


def _ladder(
    device: Device, facts: ModelFacts, length: int | None, batched: int | None
) -> list[tuple[int, int]]:
    """The sizes to try, largest first; what the user said stays."""
    rungs = []
    for tokens, pair in _LADDER:
        if tokens > 4096 and (device.kind == "cpu" or device.usable_gib < _BIG_CARD_GIB):
            continue
        rung = (batched or tokens, length or min(pair, facts.max_positions))
        if rung not in rungs:
            rungs.append(rung)
    return rungs


def _plan_with(
    facts: ModelFacts, device: Device, form: str, length: int, batched: int, dtype: str, eager: bool
) -> MemoryPlan:
    value_bytes = 4 if dtype == "float32" else 2
    kv_bytes = kv_cache_bytes(facts, length, batched, value_bytes)
    form_of_file = form if form != facts.quantised else ""
    weights = facts.weights_gib(form_of_file, value_bytes)
    terms = [
        Term("weights", weights, _weights_words(facts, form, dtype)),
        Term("kv_cache", kv_bytes / GIB, _kv_words(facts, length, batched, value_bytes)),
        _activations(facts, device, batched, value_bytes),
    ]
    if device.kind == "cpu":
        terms.append(
            Term(
                "runtime",
                CPU_RUNTIME_GIB + facts.layers * CPU_LAYER_GIB,
                f"Python, PyTorch, vLLM in two processes: {CPU_RUNTIME_GIB} + {facts.layers} "
                f"layers x {CPU_LAYER_GIB}",
            )
        )
        # vLLM 0.32.0, layers/vocab_parallel_embedding.py: packed, and the plain table kept.
        copy = facts.embedding_parameters * value_bytes / GIB
        terms.append(
            Term("table_copy", copy, "the embedding table again, packed for the processor")
        )
        if not eager:
            terms.append(Term("compiler", CPU_COMPILE_GIB, "what torch.compile keeps"))
    else:
        terms.append(Term("context", CUDA_CONTEXT_GIB, "CUDA itself, before vLLM starts to count"))
        terms.append(Term("libraries", LIBRARIES_GIB, "kernels and their work areas"))
        if not eager:
            terms.append(Term("graphs", GRAPHS_GIB, "CUDA graphs up to 512 tokens"))
    made = MemoryPlan(
        model=_short(facts.name),
        device=device,
        dtype=dtype,
        quantisation=form,
        max_model_len=length,
        max_num_batched_tokens=batched,
        kv_cache_memory_bytes=kv_bytes,
        terms=tuple(terms),
        loading_gib=facts.loading_gib(value_bytes),
        notes=tuple(_notes(facts, device, form)),
    )
    return replace(made, settings=tuple(_settings(made)))


def _activations(facts: ModelFacts, device: Device, batched: int, value_bytes: int) -> Term:
    gib = batched * facts.activation_bytes_per_token(value_bytes) / GIB
    words = (
        f"{batched:,} tokens a step x {value_bytes} bytes x (2 x {facts.hidden:,} hidden "
        f"+ 3 x {facts.intermediate:,} intermediate)"
    )
    if device.kind == "cpu":
        gib, words = gib * CPU_ACTIVATION_FACTOR, f"{words} x {CPU_ACTIVATION_FACTOR}"
    return Term("activations", gib, words)


def kv_cache_bytes(
    facts: ModelFacts, max_model_len: int, batched_tokens: int, value_bytes: int = 2
) -> int:
    """KV cache of a reranker: two steps of tokens in flight, at least one pair of full length,
    and 512 tokens of shared prefixes and block ends.

    >>> kv_cache_bytes(models.CATALOGUE["Qwen/Qwen3-Reranker-4B"], 8192, 4096) // 2**20
    1224
    """
    tokens = max(max_model_len, 2 * batched_tokens) + 512
    return tokens * facts.kv_bytes_per_token(value_bytes)


def _is_supported(device: Device, form: str) -> bool:
    if device.kind == "cpu":
        return not form
    capability = device.compute_capability
    if capability <= 0:
        return True  # not known: say nothing about it
    if capability < machine.gpu.OLDEST_CAPABILITY:
        return False
    return not form or capability >= QUANTISED_FORMS[form].minimum_capability


def _room_wanted(made: MemoryPlan) -> float:
    if made.device.kind == "cpu":
        return CPU_ROOM_GIB
    return max(ROOM_GIB, ROOM_SHARE * made.peak_gib)


def _settings(made: MemoryPlan) -> list[Setting]:
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


def _notes(facts: ModelFacts, device: Device, form: str) -> list[str]:
    notes = []
    if facts.loading_gib():
        notes.append(
            f"Loading holds {facts.loading_gib():.2f} GiB more for a moment: this model has an "
            "output head of its own, which vLLM drops."
        )
    if device.kind == "gpu" and 0 < device.compute_capability < machine.gpu.OLDEST_CAPABILITY:
        notes.append("vLLM 0.32 does not run on this chip: compute capability 7.5 or newer.")
    elif not _is_supported(device, form):
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


def _short(name: str) -> str:
    """A model's name without a path: hub ids stay, folders lose theirs."""
    return Path(name).name if Path(name).is_absolute() else name


def _weights_words(facts: ModelFacts, form: str, dtype: str) -> str:
    per = {"float32": "4 bytes"}.get(dtype, "2 bytes")
    if form:
        each = QUANTISED_FORMS[form].bytes_per_weight
        if facts.bytes_per_weight and form == facts.quantised:
            each = facts.bytes_per_weight
        return (
            f"{facts.linear_parameters / 1e9:.2f} billion linear weights x {each:.2f} bytes, "
            f"{(facts.embedding_parameters + facts.norm_parameters) / 1e9:.2f} billion x {per}"
        )
    served = facts.linear_parameters + facts.embedding_parameters + facts.norm_parameters
    return f"{served / 1e9:.3f} billion parameters x {per}, no output head"


def _kv_words(facts: ModelFacts, length: int, batched: int, value_bytes: int) -> str:
    tokens = max(length, 2 * batched) + 512
    why = f"two steps of {batched:,}" if 2 * batched >= length else "one pair of full length"
    return (
        f"{tokens:,} tokens ({why} + 512) x "
        f"{facts.kv_bytes_per_token(value_bytes) / 1024:.0f} KiB a token"
    )


