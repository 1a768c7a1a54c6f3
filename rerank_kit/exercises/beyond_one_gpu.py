"""Checks for the exercises of notebook 12. What is right is worked out by rerank_kit.scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rerank_kit.exercises.outcome import PASS, reply
from rerank_kit.scale import Capacity, Load, Speed, arrange

_QUERIES_PER_DAY, _DOCUMENTS, _TOKENS, _PAIRS_PER_SECOND = 5_000_000, 20, 400, 300.0
#: What stands in the question -> (first step, hint).
_FIRST_STEPS = {
    "twice as fast": ("fewer documents", "what halves the work, and needs no machine at all?"),
    "must not be away": ("two servers", "one machine can always fail"),
    "does not fit one card": ("tensor parallel", "what divides one model among cards?"),
}


@reply
def check_gpus(gpus: int) -> str:
    """The GPUs for five million queries a day of 20 documents and 400 tokens, at 300 pairs/s of
    400 tokens, three times the average in the busiest hour, 60 % of the speed."""
    made = Capacity(
        Load(_QUERIES_PER_DAY, _DOCUMENTS, _TOKENS), Speed(_PAIRS_PER_SECOND, _TOKENS)
    )
    if gpus == made.gpus:
        return PASS
    if gpus == made.machines:
        return "hint: GPUs, without the spare machine"
    if gpus < made.gpus:
        return "hint: too few; is the busiest hour in it, and the air for the queue?"
    return "hint: too many; the lengths are the same here, and one day has 86,400 seconds"


@reply
def check_arrangement(flags: Sequence[str], model: str, card: str, gpus: int) -> str:
    """Are these vLLM's flags for this model on so many of these cards?"""
    right = arrange(model, card, gpus)
    given = {flags[place]: str(flags[place + 1]) for place in range(0, len(flags) - 1, 2)}
    wanted = {right.flags()[place]: right.flags()[place + 1]
              for place in range(0, len(right.flags()), 2)}  # fmt: skip
    if given == wanted and len(flags) == 2 * len(wanted):
        return PASS
    if given.get("--tensor-parallel-size", "1") != wanted.get("--tensor-parallel-size", "1"):
        return "hint: how many cards must share one copy, so that it fits?"
    return "hint: how many copies do the cards hold then?"


@reply
def check_first_steps(answers: Mapping[str, str]) -> str:
    """Does each wish get its first step? Names the first that does not."""
    for words, (step, hint) in _FIRST_STEPS.items():
        given = [answer for wish, answer in answers.items() if words in wish]
        if given != [step]:
            return f"hint for '{words}': {hint}"
    return PASS
