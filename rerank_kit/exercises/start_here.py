"""Checks for the exercises of notebook 00."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_kit.exercises.outcome import PASS, reply

_FORGOTTEN_HOURS = 15  # from six in the evening to nine in the morning
_PROFILE_HINTS = {
    "teacher": ("practice", "no GPU and no network: what is free, and ships with this package?"),
    "engineer": ("gpu", "the notebook runs where the GPU is"),
    "learner": ("remote", "the server is somewhere else, and has an address"),
}


@reply
def check_forgotten_machine(cost: float, price_per_hour: float) -> str:
    """Is cost what the machine costs from six in the evening to nine the next morning?"""
    right = _FORGOTTEN_HOURS * price_per_hour
    if abs(cost - right) < 0.005 * right + 1e-9:
        return PASS
    if abs(cost * 60 - right) < 0.005 * right:
        return "hint: price() takes minutes, not hours"
    return "hint: count the hours up to midnight and the hours after it, then turn them to minutes"


@reply
def check_profiles(answers: Mapping[str, str]) -> str:
    """Does each of the three people get a fitting profile? Names the first who does not."""
    for person, (profile, hint) in _PROFILE_HINTS.items():
        if answers.get(person) != profile:
            return f"hint for the {person}: {hint}"
    return PASS
