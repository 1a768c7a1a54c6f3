"""What fits best on a card, and two servers on one card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rerank_kit import models
from rerank_kit.memory.devices import Device
from rerank_kit.memory.memory_plan import FITS, TIGHT, MemoryPlan, Term
from rerank_kit.memory.planning import plan
from rerank_kit.quantisation import quantisation_name

#: Forms that are compared: as published, quantised while loading, a 4-bit checkpoint.
_FORMS = ("", "fp8_per_channel", "awq")


def every_plan(
    device: Device, max_model_len: int | None = None, quantization: str | None = None
) -> list[MemoryPlan]:
    """All models in all forms (or in the one named) on a device, largest model first, as
    published first. Arguments as for plan()."""
    forms = _FORMS if device.kind == "gpu" else ("",)
    if quantization:
        forms = (quantisation_name(quantization),)
    return [
        plan(facts, device, quantization=form or None, max_model_len=max_model_len)
        for facts in sorted(models.CATALOGUE.values(), key=lambda one: -one.parameters)
        for form in forms
    ]


def best_fit(device: Device, *, max_model_len: int | None = None) -> MemoryPlan:
    """The largest model, as published, that fits with room; else the largest that is tight;
    else the smallest, whose verdict then is "does not fit"."""
    return best_of(every_plan(device, max_model_len, "none"))


def best_of(made: Sequence[MemoryPlan], *, quantised: bool = False) -> MemoryPlan:
    """Of these plans (largest model first) the first that fits, else the first that is tight,
    else the last. quantised: those in fewer bits count too."""
    allowed = [one for one in made if quantised or not one.quantisation] or list(made)
    for verdict in (FITS, TIGHT):
        for one in allowed:
            if one.verdict == verdict:
                return one
    return allowed[-1]


def plan_beside(reranker: str, neighbour: str, device: Device, **options: Any) -> MemoryPlan:
    """Two servers on one card: the reranker's plan when the neighbour (an embedding model, say)
    is started first with settings of its own. Its term "neighbour" is part of the total; the
    notes hold the flags for both.

    options: as for plan(), for the reranker.
    """
    facts = models.facts_of(neighbour)
    first = plan(facts, device, max_num_batched_tokens=4096, max_model_len=4096)
    left = replace(device, free_gib=device.free_gib - first.peak_gib)
    second = plan(reranker, left, **options)
    flags = " ".join(f"{one.flag} {one.value}" for one in first.settings)
    term = Term("neighbour", first.peak_gib, f"{first.model} with its own context, KV and graphs")
    notes = (
        f"Start {first.model} first, and wait until it is ready: {flags}",
        "Two starts at once measure each other's memory and fail.",
    )
    made = replace(second, device=device, terms=(*second.terms, term), notes=second.notes + notes)
    return made
