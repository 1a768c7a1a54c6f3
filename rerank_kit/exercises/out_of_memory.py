"""Checks for the exercises of notebook 08. What is right is worked out by the memory plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rerank_kit import memory
from rerank_kit.errors import InputError
from rerank_kit.exercises.outcome import PASS, reply

_LENGTHS = (1024, 2048, 4096, 8192)
_STEP_TOKENS = 1024
#: What stands in the question -> (first remedy, hint).
_REMEDIES = {
    "loading the weights": ("--quantization", "what makes the weights smaller?"),
    "first big step": ("--max-num-batched-tokens", "what makes a step smaller?"),
    "one text of full length": ("--max-model-len", "what says how long a text may be?"),
    "an hour ago": ("nvidia-smi", "your command has not changed: what else may have?"),
}


@reply
def check_options_fit(options: Mapping[str, Any], model: str, card: memory.Device) -> str:
    """Does the model fit the card with these options of memory.plan?"""
    try:
        made = memory.plan(model, card, **options)
    except InputError as error:
        return f"hint: {error.message} {error.hint}".strip()
    except TypeError:
        return "hint: one of these is no option of memory.plan; look at the rungs above"
    if made.verdict == memory.FITS:
        return PASS
    if made.term("weights").gib > 0.9 * card.usable_gib:
        return f"hint: {-made.room_gib:.1f} GiB are missing; which term is the largest?"
    return f"hint: {made.verdict}; another rung of the ladder as well?"


@reply
def check_longest_pair(length: int, card: memory.Device) -> str:
    """Is length the largest with which the 4B fits the card, in steps of 1,024 tokens, eager?"""
    if length not in _LENGTHS:
        return f"hint: answer with one of {', '.join(map(str, _LENGTHS))}"
    verdicts = {
        tokens: memory.plan(
            "4B", card, max_model_len=tokens, max_num_batched_tokens=_STEP_TOKENS, eager=True
        ).verdict
        for tokens in _LENGTHS
    }
    if verdicts[length] != memory.FITS:
        return "hint: with this length the plan does not say `fits`; go lower"
    if any(verdicts[tokens] == memory.FITS for tokens in _LENGTHS if tokens > length):
        return "hint: this fits, and a longer one does so too"
    return PASS


@reply
def check_first_remedies(answers: Mapping[str, str]) -> str:
    """Does each complaint get its first remedy? Names the first that does not."""
    for words, (remedy, hint) in _REMEDIES.items():
        given = [answer for complaint, answer in answers.items() if words in complaint]
        if given != [remedy]:
            return f"hint for '{words}': {hint}"
    return PASS
