"""The Memory panel without its widgets: model x GPU x context, what fits and why."""

from __future__ import annotations

from rerank_kit import memory
from rerank_kit import models as catalogue
from rerank_kit.memory import Device, MemoryPlan
from rerank_kit.panels.logic.memory_bar import MemoryBar, bar_of
from rerank_kit.panels.logic.work import Model

HERE, OTHER = "this machine", "another size"
FORMS = ("as published", "fp8_per_channel", "awq")
MODELS = ("0.6B", "4B", "8B")
#: The embedding model that most often shares the card.
NEIGHBOUR = "Qwen/Qwen3-Embedding-0.6B"


class FitModel(Model):
    """What the user chose; everything else follows at once."""

    def __init__(self, gpu: str = "") -> None:
        super().__init__()
        self.gpu = memory.device_named(gpu).name if gpu else "RTX 4090"
        self.other_gib = 24.0
        self.model = "4B"
        self.form = FORMS[0]
        self.length = 8192
        self.beside = False

    def gpus(self) -> list[str]:
        return [HERE, *(card.name for card in memory.CARDS), OTHER]

    def device(self) -> Device:
        """Raises InputError for sizes that no card has."""
        if self.gpu == HERE:
            return memory.device_here()
        if self.gpu == OTHER:
            return memory.device_of(self.other_gib)
        return memory.device_named(self.gpu)

    def plan(self) -> MemoryPlan:
        """Raises InputError."""
        form = None if self.form == FORMS[0] else self.form
        if self.beside:
            return memory.plan_beside(
                self.model, NEIGHBOUR, self.device(), quantization=form, max_model_len=self.length
            )
        return memory.plan(
            self.model, self.device(), quantization=form, max_model_len=self.length
        )

    def bar(self) -> MemoryBar:
        return bar_of(self.plan(), catalogue.facts_of(self.model))

    def everything(self) -> list[MemoryPlan]:
        """Every model in every form on this device."""
        return memory.every_plan(self.device(), self.length)

    def smallest_cards(self) -> list[str]:
        """The cards on which the chosen model, form and length fit, the smallest first."""
        form = None if self.form == FORMS[0] else self.form
        fitting = []
        for card in sorted(memory.CARDS, key=lambda one: one.usable_gib):
            made = memory.plan(
                self.model, memory.device_named(card.name), quantization=form,
                max_model_len=self.length,
            )  # fmt: skip
            if made.verdict == memory.FITS:
                fitting.append(card.name)
        return fitting
