"""Checks for the exercises of notebook 09. What is right is said by the diagnosis itself."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_kit.exercises.outcome import PASS, reply
from rerank_kit.server.clinic import Case, cases
from rerank_kit.server.diagnosis import diagnose

_WRAPPER_WORDS = ("failed to start", "initialization failed")
_CACHE_TOKENS = 20272  # what the log of the first patient of the exam says
_STEP = 512


@reply
def check_cause_line(line: int, patient: Case) -> str:
    """Is line (counted from 1) the one that the diagnosis takes as evidence?"""
    if not 1 <= line <= len(patient.lines):
        return f"hint: the log has lines 1 to {len(patient.lines)}"
    right = diagnose(patient.lines).evidence[0].line
    text = patient.lines[line - 1]
    if line == right:
        return PASS
    if any(words in text for words in _WRAPPER_WORDS):
        return "hint: this is a wrapper; it says that something failed, and not what"
    if "WARNING" in text or "INFO" in text:
        return "hint: after this line the program went on; look further down"
    if line < right:
        return "hint: this is a place in the program; the message comes below it"
    return "hint: too far down; the cause stands above the wrapper"


@reply
def check_families(answers: Mapping[int, str]) -> str:
    """Does each patient of the exam get the right family? Names the first who does not."""
    for number, case in enumerate(cases("exam"), 1):
        if answers.get(number) != case.family:
            line = diagnose(case.lines).evidence[0].line
            return f"hint for patient {number}: read line {line} again; what is short, and whose?"
    return PASS


@reply
def check_length_for_cache(length: int) -> str:
    """Is length what the cache of the exam's first patient holds, and not much less?"""
    if length > _CACHE_TOKENS:
        return "hint: still more than the cache can hold"
    if length < _CACHE_TOKENS - _STEP:
        return "hint: it would start, and refuse documents that it could read; go higher"
    return PASS
