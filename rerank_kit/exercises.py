"""Checks for the exercises of the course: each replies "pass" or a hint, never the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerank_kit import prompt

PASS = "pass"

# --- 00_start_here

_FORGOTTEN_HOURS = 15  # from six in the evening to nine in the morning
_PROFILE_HINTS = {
    "teacher": ("practice", "no GPU and no network: what is free, and ships with this package?"),
    "engineer": ("gpu", "the notebook runs where the GPU is"),
    "learner": ("remote", "the server is somewhere else, and has an address"),
}


def check_forgotten_machine(cost: float, price_per_hour: float) -> str:
    """Is cost what the machine costs from six in the evening to nine the next morning?"""
    right = _FORGOTTEN_HOURS * price_per_hour
    if abs(cost - right) < 0.005 * right + 1e-9:
        return PASS
    if abs(cost * 60 - right) < 0.005 * right:
        return "hint: price() takes minutes, not hours"
    return "hint: count the hours up to midnight and the hours after it, then turn them to minutes"


def check_profiles(answers: Mapping[str, str]) -> str:
    """Does each of the three people get a fitting profile? Names the first who does not."""
    for person, (profile, hint) in _PROFILE_HINTS.items():
        if answers.get(person) != profile:
            return f"hint for the {person}: {hint}"
    return PASS


# --- 01_first_ranking


def check_my_document_wins(ranking: Any, my_document: str) -> str:
    """Is my_document at rank 1?"""
    if ranking[0].text == my_document:
        return PASS
    place = next(document.rank for document in ranking if document.text == my_document)
    return f"hint: rank {place}; say what the query asks for, in the query's own words"


def check_best_question(
    scores: Sequence[float], best_question: int | None, questions: Sequence[str]
) -> str:
    """One score per question, and the place of the highest?"""
    if len(scores) != len(questions):
        return f"hint: {len(questions)} questions make {len(questions)} pairs and as many scores"
    if best_question is None:
        return "hint: the scores are there; which place holds the highest?"
    if best_question != max(range(len(scores)), key=lambda place: scores[place]):
        return "hint: not the highest score; places are counted from 0"
    return PASS


# --- 02_what_the_model_reads


def mystery_prompts(query: str, document: str) -> dict[str, str]:
    """Four prompts for one pair, by letter. One is official; the others carry real slips."""
    official = prompt.render(query, document)
    return {
        "A": official[:-1],
        "B": official.replace("<think>\n\n</think>\n\n", ""),
        "C": official,
        "D": official.replace("\n<Document>", "\n\n<Document>"),
    }


def check_official_prompt(letter: str, query: str, document: str) -> str:
    """Is this the letter of the official prompt?"""
    chosen = mystery_prompts(query, document).get(letter)
    if chosen is None:
        return "hint: answer with one of the letters"
    if chosen == prompt.render(query, document):
        return PASS
    return "hint: not this one; compare it with prompt.render(query, document) and look at the end"


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


# --- 04_two_stage_search


def check_depth(depth: int, points: Sequence[Any], loss: float = 0.01) -> str:
    """Is this the smallest depth whose quality is within loss of the best?"""
    best = max(point.quality for point in points)
    enough = [point.depth for point in points if point.quality >= best - loss]
    if depth not in {point.depth for point in points}:
        return "hint: choose one of the depths in the table"
    if depth not in enough:
        return "hint: a larger depth is clearly better"
    if depth > min(enough):
        return "hint: a smaller depth is just as good, and faster"
    return PASS


def check_enough_queries(count: int, difference: Any, wanted: float) -> str:
    """Are count queries enough to see a difference of wanted, with the spread seen here? (What
    can be seen shrinks with the square root of the number of queries.)"""
    needed = difference.queries * (difference.detectable / wanted) ** 2
    if count < needed:
        return "hint: more; four times the queries show half the difference"
    if count > 1.2 * needed:
        return "hint: so many are more than you need; labelling costs time"
    return PASS
