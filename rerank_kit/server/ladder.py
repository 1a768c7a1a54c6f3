"""Every setting that cures a shortage of memory, in the order of what it costs the user.

A diagnosis names the cures that the log's numbers give; the ladder adds those that the machine
and the current settings give, and sorts both: first what loses nothing at all, last what changes
the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rerank_kit import machine, memory, models
from rerank_kit.errors import InputError
from rerank_kit.quantisation import QUANTISED_FORMS
from rerank_kit.server.remedies import Fix
from rerank_kit.server.settings import ServerSettings
from rerank_kit.server.verdict import Diagnosis

#: What a change costs, by flag: 0 nothing, the last the most. Flags that are not here have
#: nothing to do with memory and keep their place in front.
COST = (
    "--kv-cache-memory-bytes",  # nothing: a reranker needs the cache of one step only
    "--gpu-memory-utilization",  # nothing
    "--tensor-parallel-size",  # a second card that stands idle
    "--max-num-batched-tokens",  # a little speed
    "--max-num-seqs",  # a little speed
    "--enforce-eager",  # speed of small requests
    "--quantization",  # scores drift in the second or third digit
    "--max-model-len",  # long documents have to be cut
    "--model",  # quality
)
MEMORY_FAMILIES = {
    "gpu_oom_load": ("--tensor-parallel-size", "--quantization", "--model"),
    "gpu_oom_warmup": COST,
    "gpu_oom_runtime": COST,
    "kv_cache_too_small": COST,
    "gpu_busy": ("--gpu-memory-utilization", "--kv-cache-memory-bytes", "--tensor-parallel-size",
                 "--quantization", "--model"),
    "host_oom": ("--kv-cache-memory-bytes", "--max-num-batched-tokens", "--max-num-seqs",
                 "--max-model-len", "--model"),
}  # fmt: skip
#: Below these a change costs more than it can bring.
FEWEST_TOKENS, FEWEST_SEQUENCES, SHORTEST = 1024, 32, 1024
#: A second card must be idle for our half of the model to be welcome there.
IDLE_SHARE = 0.8
_SMALLER = {"Qwen/Qwen3-Reranker-8B": "4B", "Qwen/Qwen3-Reranker-4B": "0.6B"}


@dataclass(frozen=True)
class Situation:
    """What the next rung depends on. model_is_free: the user did not name the model, so that a
    smaller one may be taken."""

    settings: ServerSettings
    gpus: Sequence[machine.Gpu] = ()
    model_is_free: bool = False

    def value(self, flag: str) -> str:
        """The value that the server would be started with; "" without one."""
        words = self.settings.vllm_arguments(0)
        found = ""
        for place, word in enumerate(words):
            name, equals, value = word.partition("=")
            if name == flag:
                found = value if equals else words[place + 1] if place + 1 < len(words) else ""
        return found

    def number(self, flag: str, otherwise: int) -> int:
        text = self.value(flag)
        return int(text) if text.isdigit() else otherwise


def cures(diagnosis: Diagnosis, situation: Situation) -> list[Fix]:
    """The settings that may cure this failure, the one that costs least first."""
    own = [fix for fix in diagnosis.fixes if fix.kind == "setting"]
    if diagnosis.family not in MEMORY_FAMILIES:
        left_out = _left_out(diagnosis, situation)
        # The CPU build has no kernels for most forms: another precision only fails later.
        return [*own, *left_out] if situation.settings.profile == "gpu" else [*left_out, *own]
    known = {_flag(fix) for fix in own}
    rungs = [RUNGS[flag](situation) for flag in MEMORY_FAMILIES[diagnosis.family] if flag in RUNGS]
    own += [fix for fix in rungs if fix is not None and _flag(fix) not in known]
    return sorted(own, key=lambda fix: COST.index(_flag(fix)) if _flag(fix) in COST else -1)


def _flag(fix: Fix) -> str:
    return fix.change.split("=", 1)[0].split(" ", 1)[0]


def _left_out(diagnosis: Diagnosis, situation: Situation) -> list[Fix]:
    """A quantisation that cannot be used here is left out: the scores are the better for it."""
    asked_for = any(
        word.split("=", 1)[0] in ("--quantization", "-q") for word in situation.settings.extra_args
    )
    if diagnosis.family not in ("quantization", "dtype_unsupported") or not asked_for:
        return []
    return [Fix("without", "--quantization", "Unquantised weights run everywhere, and need about"
                " twice the memory.")]  # fmt: skip


def _facts(situation: Situation) -> models.ModelFacts | None:
    try:
        return models.facts_of(situation.settings.model)
    except InputError:
        return None


def _smallest_cache(situation: Situation) -> Fix | None:
    facts = _facts(situation)
    if facts is None:
        return None
    value_bytes = 4 if situation.value("--dtype") == "float32" else 2
    length = situation.number("--max-model-len", facts.max_positions)
    batched = situation.number("--max-num-batched-tokens", 2048)
    needed = memory.kv_cache_bytes(facts, length, batched, value_bytes)
    now = situation.number("--kv-cache-memory-bytes", 0)
    if now and now <= needed * 1.1:
        return None
    return Fix("setting", f"--kv-cache-memory-bytes {needed}",
               "Two steps of text are all that a reranker's cache must hold.")  # fmt: skip


def _second_gpu(situation: Situation) -> Fix | None:
    ranks = situation.number("--tensor-parallel-size", 1)
    idle = [gpu for gpu in situation.gpus if gpu.free_gib > IDLE_SHARE * gpu.usable_gib]
    facts = _facts(situation)
    wanted = ranks * 2
    if situation.settings.profile != "gpu" or len(idle) < wanted:
        return None
    if facts is None or facts.heads % wanted or facts.kv_heads % wanted:
        return None
    return Fix("setting", f"--tensor-parallel-size {wanted}",
               f"{wanted} cards each hold a part of the model; scores stay the same.")  # fmt: skip


def _half(flag: str, otherwise: int, fewest: int, why: str) -> Callable[[Situation], Fix | None]:
    def rung(situation: Situation) -> Fix | None:
        half = situation.number(flag, otherwise) // 2
        return Fix("setting", f"{flag} {half}", why) if half >= fewest else None

    return rung


def _no_graphs(situation: Situation) -> Fix | None:
    if "--enforce-eager" in situation.settings.vllm_arguments(0):
        return None
    return Fix("setting", "--enforce-eager", "No graphs and no compiling: saves their memory.")


def _fp8(situation: Situation) -> Fix | None:
    facts = _facts(situation)
    form = QUANTISED_FORMS["fp8_per_tensor"]
    able = situation.gpus and all(
        gpu.compute_capability >= form.minimum_capability for gpu in situation.gpus
    )
    if not able or situation.value("--quantization") or (facts is not None and facts.quantised):
        return None
    return Fix("setting", f"--quantization {form.flag}",
               "Weights of one byte instead of two; scores drift a little.")  # fmt: skip


def _smaller_model(situation: Situation) -> Fix | None:
    smaller = _SMALLER.get(situation.settings.model)
    if smaller is None or not situation.model_is_free:
        return None
    return Fix("model", f"--model {smaller}", "The next smaller model; it ranks less well.")


RUNGS: dict[str, Callable[[Situation], Fix | None]] = {
    "--kv-cache-memory-bytes": _smallest_cache,
    "--tensor-parallel-size": _second_gpu,
    "--max-num-batched-tokens": _half(
        "--max-num-batched-tokens", 2048, FEWEST_TOKENS, "Smaller steps need less working memory."
    ),
    "--max-num-seqs": _half("--max-num-seqs", 256, FEWEST_SEQUENCES, "Fewer texts in one step."),
    "--enforce-eager": _no_graphs,
    "--quantization": _fp8,
    "--max-model-len": _half(
        "--max-model-len", 8192, SHORTEST, "Shorter texts need a smaller cache."
    ),
    "--model": _smaller_model,
}
