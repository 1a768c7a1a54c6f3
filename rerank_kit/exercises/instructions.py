"""Checks for the exercises of notebook 05, and the measurements that one of them asks about."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_kit.client.instructions import InstructionEffect
from rerank_kit.exercises.outcome import PASS, reply

_METRIC = "pairs in the right order"


def instruction_effects() -> dict[str, InstructionEffect]:
    """Three made-up measurements: a plus that proves nothing, a small sure gain, a sure loss."""
    return {
        "A": InstructionEffect(0.70, 0.78, -0.04, 0.20, 9, 0.95, _METRIC),
        "B": InstructionEffect(0.81, 0.83, 0.01, 0.04, 220, 0.95, _METRIC),
        "C": InstructionEffect(0.81, 0.72, -0.15, -0.02, 60, 0.95, _METRIC),
    }


@reply
def check_verdicts(verdicts: Mapping[str, str]) -> str:
    """Is each answer the verdict of its measurement?"""
    for letter, effect in instruction_effects().items():
        said = verdicts.get(letter, "").strip().lower()
        if said not in ("helps", "hurts", "no difference shown"):
            return f"hint: {letter} needs one of the three verdicts"
        if said != effect.verdict:
            return f"hint: look at {letter} again: is zero inside the interval?"
    return PASS


@reply
def check_taken_apart(query: str, instruction: str, glued: str) -> str:
    """Are query and instruction those that were glued together?"""
    told, asked = glued.removeprefix("Instruct: ").split("\nQuery: ")
    if "Query:" in query or "Instruct" in query:
        return "hint: the query is only what the person typed"
    if query.strip() != asked:
        return "hint: that is not what the person typed"
    if "Instruct" in instruction:
        return "hint: the prompt brings its own word for it; give the sentence alone"
    if instruction.strip() != told:
        return "hint: the instruction is the sentence that says what to look for"
    return PASS
