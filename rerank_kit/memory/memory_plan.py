"""A memory plan: its terms, its total, and whether that fits the device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rerank_kit import machine
from rerank_kit.memory import show
from rerank_kit.memory.devices import Device
from rerank_kit.memory.log import Measured
from rerank_kit.quantisation import QUANTISED_FORMS

FITS, TIGHT, DOES_NOT_FIT = "fits", "tight", "does not fit"

#: To be called "fits", this much must stay free: fragmentation, and the error of the estimate.
ROOM_GIB, ROOM_SHARE = 0.5, 0.05
#: Main memory that must stay free: a notebook, a browser, the system.
CPU_ROOM_GIB = 1.0


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
    def room_kept_gib(self) -> float:
        """What must stay free for the verdict "fits": the error of the estimate, other programs."""
        if self.device.kind == "cpu":
            return CPU_ROOM_GIB
        return max(ROOM_GIB, ROOM_SHARE * self.peak_gib)

    @property
    def verdict(self) -> str:
        """fits (with room for error), tight (it should start, little stays free), does not fit."""
        if self.room_gib < 0 or not is_supported(self.device, self.quantisation):
            return DOES_NOT_FIT
        return FITS if self.room_gib >= self.room_kept_gib else TIGHT

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


def is_supported(device: Device, form: str) -> bool:
    """Does vLLM 0.32 run this quantised form ("": none) on this device at all?
    A compute capability that is not known counts as yes."""
    if device.kind == "cpu":
        return not form
    capability = device.compute_capability
    if capability <= 0:
        return True  # not known: say nothing about it
    if capability < machine.gpu.OLDEST_CAPABILITY:
        return False
    return not form or capability >= QUANTISED_FORMS[form].minimum_capability
