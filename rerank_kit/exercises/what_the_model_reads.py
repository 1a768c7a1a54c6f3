"""Checks for the exercises of notebook 02, and the prompts that one of them asks about."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_kit import prompt
from rerank_kit.exercises.outcome import PASS, reply


def mystery_prompts(query: str, document: str) -> dict[str, str]:
    """Four prompts for one pair, by letter. One is official; the others carry real slips."""
    official = prompt.render(query, document)
    return {
        "A": official[:-1],
        "B": official.replace("<think>\n\n</think>\n\n", ""),
        "C": official,
        "D": official.replace("\n<Document>", "\n\n<Document>"),
    }


@reply
def check_official_prompt(letter: str, query: str, document: str) -> str:
    """Is this the letter of the official prompt?"""
    chosen = mystery_prompts(query, document).get(letter)
    if chosen is None:
        return "hint: answer with one of the letters"
    if chosen == prompt.render(query, document):
        return PASS
    return "hint: not this one; compare it letter by letter with prompt.render(query, document)"


@reply
def check_threshold(threshold: float, scores: Sequence[float], labels: Sequence[bool]) -> str:
    """Does the threshold let no wrong document through, and lose as few right ones as it can?"""
    worst = max((s for s, good in zip(scores, labels, strict=True) if not good), default=0.0)
    if threshold <= worst:
        return "hint: a wrong document still gets through; go higher"
    possible = sum(good and s > worst for s, good in zip(scores, labels, strict=True))
    kept = sum(good and s >= threshold for s, good in zip(scores, labels, strict=True))
    if kept < possible:
        return "hint: no wrong document gets through, but more right ones could; go lower"
    return PASS
