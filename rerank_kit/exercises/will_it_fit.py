"""Checks for the exercises of notebook 03. What is right is worked out by the memory plan."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_kit import memory, models
from rerank_kit.exercises.outcome import PASS, reply

_MODELS = ("0.6B", "4B", "8B")  # smallest first
_PAIR_TOKENS = 32768


@reply
def check_kv_of_one_pair(gib: float) -> str:
    """Is gib the KV cache of one pair of 32,768 tokens in the 4B, in bfloat16?"""
    right = models.facts_of("4B").kv_bytes_per_token() * _PAIR_TOKENS / models.GIB
    if abs(gib - right) < 0.02 * right:
        return PASS
    if abs(gib - right * models.GIB) < 0.02 * right * models.GIB:
        return "hint: these are bytes; one GiB is 2**30 of them"
    if abs(2 * gib - right) < 0.02 * right:
        return "hint: half of it; a key and a value, and two bytes for each number"
    if abs(gib - right * 1.0737) < 0.01 * right:
        return "hint: these are GB; one GiB is 2**30 bytes"
    return "hint: bytes of one token first (the cell under `Keys and values`), then all tokens"


@reply
def check_largest_that_fits(answers: Mapping[str, str], cards: Mapping[str, str]) -> str:
    """Is each person's model the largest that fits their card? Names the first that is not."""
    for person, card in cards.items():
        answer = answers.get(person)
        if answer not in _MODELS:
            return f"hint for the {person}: answer with one of {', '.join(_MODELS)}"
        verdicts = {
            name: memory.plan(name, memory.device_named(card)).verdict for name in _MODELS
        }
        if verdicts[answer] != memory.FITS:
            return f"hint for the {person}: the {answer} is more than a {card} holds with room"
        if any(verdicts[name] == memory.FITS for name in _larger_than(answer)):
            return f"hint for the {person}: a {card} holds more than the {answer}"
    return PASS


@reply
def check_beside(answer: str, neighbour: str, card: memory.Device) -> str:
    """Is answer the largest reranker that fits the card beside the neighbour?"""
    if answer not in _MODELS:
        return f"hint: answer with one of {', '.join(_MODELS)}"
    verdicts = {name: memory.plan_beside(name, neighbour, card).verdict for name in _MODELS}
    if verdicts[answer] != memory.FITS:
        return "hint: not these two together; look at the verdict of plan_beside"
    if any(verdicts[name] == memory.FITS for name in _larger_than(answer)):
        return "hint: these two fit, but a larger reranker does so too"
    return PASS


def _larger_than(name: str) -> tuple[str, ...]:
    return _MODELS[_MODELS.index(name) + 1 :]
