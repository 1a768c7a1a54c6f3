"""Predict the memory of one server, term by term."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rerank_kit import models
from rerank_kit.errors import InputError
from rerank_kit.memory.advice import CUDA_CONTEXT_GIB, notes_on, settings_of
from rerank_kit.memory.devices import Device
from rerank_kit.memory.memory_plan import DOES_NOT_FIT, FITS, MemoryPlan, Term
from rerank_kit.models import GIB, ModelFacts
from rerank_kit.quantisation import QUANTISED_FORMS, quantisation_name

#: Libraries and work areas that come with the model ("consumed" less "Model loading took").
#: Published logs: 0.15 (a 6 GB laptop), 0.26 (A100), 0.47 (3090).
LIBRARIES_GIB = 0.35
#: CUDA graphs of a pooling model are piecewise and stop at 512 tokens. Published logs of
#: generators, which capture more: 0.07 to 0.78.
GRAPHS_GIB = 0.3
#: CPU build, set from the eager starts in notebooks/recorded/memory_cpu.json: Python, PyTorch
#: and vLLM in the two processes of a server (0.5 GiB in the one that answers), 7 MiB of kernels
#: a layer; the matrix kernels' own copy of the embedding table is counted with the model.
CPU_RUNTIME_GIB = 1.32
CPU_LAYER_GIB = 0.007
#: The allocator keeps what a step has freed: 2.1 times the widest moment of a layer.
CPU_ACTIVATION_FACTOR = 2.1
#: What torch.compile keeps. An assumption: compiled starts were not measured.
CPU_COMPILE_GIB = 0.4

DEFAULT_MAX_MODEL_LEN = 8192
#: (batched tokens, longest pair): the first that fits is taken.
_LADDER = ((8192, 8192), (4096, 8192), (2048, 8192), (2048, 4096), (2048, 2048), (1024, 1024))
#: Below this, a step of 8192 tokens takes the card longer than it takes the host to prepare it.
_BIG_CARD_GIB = 20.0


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
        notes=tuple(notes_on(facts, device, form)),
    )
    return replace(made, settings=tuple(settings_of(made)))


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


