"""A memory plan as a bar: parts, what stays free, and the verdict in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rerank_kit import memory
from rerank_kit.models import GIB, ModelFacts

MIB = 2**20
_LABELS = {
    "weights": "weights", "kv_cache": "KV cache", "activations": "activations",
    "neighbour": "other server",
}  # fmt: skip


@dataclass(frozen=True)
class MemoryBar:
    """Predicted memory: (part, GiB) and what stays free of the device. verdict: in words."""

    device: str
    usable_gib: float
    free_gib: float
    parts: tuple[tuple[str, float], ...]
    verdict: str
    warning: str = ""

    @property
    def needed_gib(self) -> float:
        return sum(gib for _, gib in self.parts)


def bar_of(
    made: memory.MemoryPlan, facts: ModelFacts, cache_bytes: int | None = None
) -> MemoryBar:
    """The bar of a plan. cache_bytes: a KV cache of the user's own size instead of the plan's."""
    if cache_bytes is not None:
        made = replace(made, terms=tuple(
            replace(term, gib=cache_bytes / GIB) if term.name == "kv_cache" else term
            for term in made.terms
        ))  # fmt: skip
    parts = [(_LABELS[term.name], term.gib) for term in made.terms if term.name in _LABELS]
    parts.append(("programs and the rest", made.total_gib - sum(gib for _, gib in parts)))
    loading = made.peak_gib - made.total_gib
    if loading > 0.005:
        parts.append(("only while loading", loading))
    room = made.room_gib
    if made.verdict == memory.DOES_NOT_FIT:
        words = f"does not fit, {-room:.1f} GiB are missing" if room < 0 else "does not run here"
    else:
        words = f"{made.verdict}, {max(0.0, room):.1f} GiB stay free"
    return MemoryBar(
        made.device.name, made.device.usable_gib, made.device.free_gib, tuple(parts), words,
        _cache_warning(made, facts, cache_bytes),
    )  # fmt: skip


def _cache_warning(made: memory.MemoryPlan, facts: ModelFacts, cache_bytes: int | None) -> str:
    """vLLM refuses to start where not even one pair of full length finds room."""
    if cache_bytes is None:
        return ""
    value_bytes = 4 if made.dtype == "float32" else 2
    pair = made.max_model_len * facts.kv_bytes_per_token(value_bytes)
    if pair <= cache_bytes:
        return ""
    return (
        f"One pair of full length needs {pair / MIB:,.0f} MiB of KV cache, and you give "
        f"{cache_bytes / MIB:,.0f} MiB: the start will fail, and the panel will say why."
    )
