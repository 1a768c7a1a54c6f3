"""The training loop: counted in steps, seeded, on the CPU."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from . import evaluation, packing
from .groups import GroupMaker
from .packing import Packed
from .texts import Texts

GROUPS_PER_STEP = 12
WARM_UP_STEPS = 100
FALLING_SHARE = 0.25
WEIGHT_DECAY = 0.05
AVERAGE_DECAY = 0.99
VOCABULARY_LOSS_EVERY = 8
STEPS_BETWEEN_REPORTS = 25


@dataclass(frozen=True)
class Plan:
    """What decides the result of a training run."""

    steps: int
    seed: int = 0
    learning_rate: float = 2e-4
    embedding_learning_rate: float = 8e-5
    threads: int = 1  # measured: with the second core busy, two threads are 4x slower than one
    steps_between_evaluations: int = 500


def group_loss(logits: torch.Tensor, grades: list[int]) -> torch.Tensor:
    """Each relevant document against all of lower grade, plus a level for the score itself."""
    grade = torch.tensor(grades)
    losses = []
    for i in torch.nonzero(grade > 0).flatten().tolist():
        rivals = logits[grade < grade[i]]
        losses.append(torch.logsumexp(torch.cat([logits[i : i + 1], rivals]), 0) - logits[i])
    target = torch.tensor([0.0, 0.5, 1.0])[grade]
    level = functional.binary_cross_entropy_with_logits(
        logits, target, weight=torch.where(grade > 0, 2.5, 1.0)
    )
    return torch.stack(losses).mean() + 0.5 * level


def rate(step: int, steps: int) -> float:
    """A short warm-up, a level stretch, and a straight fall over the last quarter.

    The rate before the fall does not depend on the number of steps, so a run that is asked to
    finish early (see `train`) equals a run planned with that number of steps.
    """
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm * min(1.0, max(0.02, (steps - step) / (FALLING_SHARE * steps)))


def optimizer_for(model: Qwen3ForCausalLM, plan: Plan) -> torch.optim.AdamW:
    """AdamW with a rate of its own for the embeddings, and no decay for them and the norms."""
    embeddings = model.model.embed_tokens.weight
    matrices = [p for p in model.parameters() if p.ndim == 2 and p is not embeddings]
    norms = [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW(
        [
            {"params": [embeddings], "lr": plan.embedding_learning_rate, "weight_decay": 0.0},
            {"params": matrices, "lr": plan.learning_rate, "weight_decay": WEIGHT_DECAY},
            {"params": norms, "lr": plan.learning_rate, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
        fused=True,
    )


class Average:
    """A running average of the weights, which ranks better than the last step's weights."""

    def __init__(self, model: Qwen3ForCausalLM) -> None:
        self.model = model
        self.values = [p.detach().clone() for p in model.parameters()]
        self.updates = 0

    def update(self) -> None:
        """Move a little towards the present weights."""
        self.updates += 1
        decay = min(AVERAGE_DECAY, self.updates / (self.updates + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.values, list(self.model.parameters()), 1 - decay)

    def swap(self) -> None:
        """Exchange the averages with the model's weights (call again to change back)."""
        with torch.no_grad():
            for value, parameter in zip(self.values, self.model.parameters(), strict=True):
                kept = value.clone()
                value.copy_(parameter)
                parameter.copy_(kept)


def drawn(maker: GroupMaker, tokenizer: Tokenizer) -> list[Packed]:
    """The groups of one step."""
    packed: list[Packed] = []
    while len(packed) < GROUPS_PER_STEP:
        item = packing.pack(maker.group(), tokenizer)
        if item is not None:
            packed.append(item)
    return packed


def train(
    model: Qwen3ForCausalLM,
    tokenizer: Tokenizer,
    texts: Texts,
    plan: Plan,
    keep: Callable[[], None],
    finish: Path,
) -> dict:
    """Train in place; afterwards the model holds the averaged weights. Returns what was done.

    `keep` is called now and then while the model holds averaged weights, to save them. When a file
    named `finish` appears, the fall of the rate begins and the plan gets shorter accordingly.
    """
    yes, no = tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")
    maker = GroupMaker(texts, plan.seed)
    optimizer = optimizer_for(model, plan)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    average = Average(model)
    started, seen, smooth = time.monotonic(), 0, {}
    step, steps = 0, plan.steps
    while step < steps:
        if finish.exists() and step < (1 - FALLING_SHARE) * steps:
            steps = math.ceil(step / (1 - FALLING_SHARE))
        for group, base in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = base * rate(step, steps)
        optimizer.zero_grad(set_to_none=True)
        packed = drawn(maker, tokenizer)
        logits, ends = packing.differences(model, packed, tokenizer, torch.bfloat16)
        losses = [group_loss(d, p.grades) for d, p in zip(logits, packed, strict=True)]
        loss = torch.stack(losses).mean()
        total = float(loss.detach())
        first = [p.grades[int(d.argmax())] == 2 for d, p in zip(logits, packed, strict=True)]
        if step % VOCABULARY_LOSS_EVERY == 0:
            loss = loss + 0.3 * vocabulary_loss(model, ends, packed, yes, no)
        loss.backward()
        seen += sum(p.tokens for p in packed)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update()
        now = {"loss": total, "first": sum(first) / len(first)}
        smooth = {k: 0.96 * smooth.get(k, v) + 0.04 * v for k, v in now.items()}
        step += 1
        if step % STEPS_BETWEEN_REPORTS == 0:
            report(step, seen, time.monotonic() - started, smooth)
        if step % plan.steps_between_evaluations == 0:
            average.swap()
            score = evaluation.Scorer(model, tokenizer)
            keep()
            print("  validation", evaluation.quick_figures(texts, "validation", score), flush=True)
            average.swap()
    average.swap()
    return {
        "steps": steps,
        "groups": steps * GROUPS_PER_STEP,
        "tokens": seen,
        "minutes": round((time.monotonic() - started) / 60, 1),
    }


def vocabulary_loss(model, ends: torch.Tensor, part: list[Packed], yes: int, no: int):
    """Keeps "yes" and "no" the likeliest of all tokens, as with the real model."""
    grades = torch.tensor([grade for item in part for grade in item.grades])
    wanted = torch.where(grades == 2, yes, no)
    return functional.cross_entropy(ends @ model.lm_head.weight.T, wanted)


def report(step: int, seen: int, seconds: float, smooth: dict[str, float]) -> None:
    """One line of progress."""
    values = ", ".join(f"{name} {value:.3f}" for name, value in smooth.items())
    print(f"step {step}: {values}, {seen / seconds:.0f} tokens/s, {seconds:.0f} s", flush=True)
