"""Several GPUs in one machine: does the model need more than one, and what to do with the rest."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_kit import memory, models
from rerank_kit.errors import InputError
from rerank_kit.memory.memory_plan import ROOM_GIB, ROOM_SHARE
from rerank_kit.models import ModelFacts

#: A tensor-parallel group of vLLM needs head counts that it divides; machines have 1 to 8 GPUs.
_GROUP_SIZES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Arrangement:
    """gpus_per_copy: GPUs that share one copy of the model (tensor parallel). copies: how many
    answer at the same time (data parallel). peak_gib: predicted on each card."""

    model: str
    card: str
    gpus_per_copy: int
    copies: int
    peak_gib: float
    usable_gib: float

    def flags(self) -> list[str]:
        """For ONE `vllm serve` that uses all of them."""
        flags = []
        if self.gpus_per_copy > 1:
            flags += ["--tensor-parallel-size", str(self.gpus_per_copy)]
        if self.copies > 1:
            flags += ["--data-parallel-size", str(self.copies)]
        return flags

    def commands(self, first_port: int = 8000) -> list[str]:
        """The other way: one server for each copy, on GPUs of its own, for a router in front.
        One that dies takes nothing with it."""
        shared = (
            f" -- --tensor-parallel-size {self.gpus_per_copy}" if self.gpus_per_copy > 1 else ""
        )
        commands = []
        for copy in range(self.copies):
            first = copy * self.gpus_per_copy
            cards = ",".join(str(card) for card in range(first, first + self.gpus_per_copy))
            commands.append(
                f"CUDA_VISIBLE_DEVICES={cards} rerank-kit launch --profile gpu "
                f"--model {self.model} --port {first_port + copy}{shared}"
            )
        return commands

    def __str__(self) -> str:
        copy = "one GPU" if self.gpus_per_copy == 1 else f"{self.gpus_per_copy} GPUs"
        lines = [
            f"{self.model} on {self.card}: {copy} a copy ({self.peak_gib:.1f} of "
            f"{self.usable_gib:.1f} GiB each), {self.copies} "
            f"{'copy' if self.copies == 1 else 'copies'}",
        ]
        if self.flags():
            lines.append(f"one server:   rerank-kit launch --profile gpu --model {self.model} -- "
                         f"{' '.join(self.flags())}")  # fmt: skip
        if self.copies > 1:
            lines.append("or one server a copy, behind a router:")
            lines += [f"  {command}" for command in self.commands()]
        return "\n".join(lines)


def arrange(model: str, card: str, gpus: int, *, max_model_len: int | None = None) -> Arrangement:
    """The fewest GPUs that hold a copy, and as many copies as the machine has room for.

    Copies beat shared copies: sharing a model that fits one card may shorten a single request, but
    two copies get more done, as they need not talk to each other. The weights of a shared copy are
    divided, the rest is counted whole (an upper bound; predicted, not measured). Raises InputError
    when no number of these GPUs holds it.

    >>> arrange("0.6B", "T4", 4).flags()
    ['--data-parallel-size', '4']
    """
    if gpus < 1:
        raise InputError("A machine needs at least one GPU for this.")
    facts, device = models.facts_of(model), memory.device_named(card)
    made = memory.plan(facts, device, max_model_len=max_model_len)
    weights = made.term("weights").gib
    for size in _GROUP_SIZES:
        if size > gpus or not _divides(facts, size):
            continue
        peak = made.peak_gib - weights * (1 - 1 / size)
        if peak + max(ROOM_GIB, ROOM_SHARE * peak) <= device.free_gib:
            return Arrangement(model, device.name, size, gpus // size, peak, device.usable_gib)
    raise InputError(
        f"{model} does not fit {gpus} x {device.name}.",
        hint=f"a larger card, a smaller model, or fewer bits: rerank-kit plan --gpu '{card}'",
    )


def _divides(facts: ModelFacts, size: int) -> bool:
    return facts.heads % size == 0 and facts.kv_heads % size == 0
