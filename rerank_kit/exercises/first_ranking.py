"""Checks for the exercises of notebook 01."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rerank_kit.exercises.outcome import PASS, reply


@reply
def check_my_document_wins(ranking: Any, my_document: str) -> str:
    """Is my_document at rank 1?"""
    if ranking[0].text == my_document:
        return PASS
    place = next(document.rank for document in ranking if document.text == my_document)
    return f"hint: rank {place}; say what the query asks for, in the query's own words"


@reply
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
