"""Easier held-out groups: a search by keywords of the passage, and a passage in two languages.

The concept sets paraphrase: query and answer often share no word. People also search with words
that stand in the answer, and look for the same text in another language; these sets measure that.
"""

from __future__ import annotations

import random
import re
from collections import Counter

from . import bm25
from .groups import NEAR_DUPLICATE, Group
from .texts import Concept

NEGATIVES = 9
ENGLISH_KEYWORDS = 3
CHINESE_SPANS, SPAN_CHARACTERS = 2, 3


def keyword_groups(concepts: list[Concept], pool: list[Concept], language: str) -> list[Group]:
    """Query: the rarest words (zh: spans of characters) of a held-out passage, in their order."""
    rng = random.Random(f"keywords {language}")
    passages = [getattr(concept, f"{language}_passage") for concept in pool]
    frequency = Counter(term for passage in passages for term in set(bm25.terms(passage)))
    groups = []
    for concept in concepts:
        passage = getattr(concept, f"{language}_passage")
        words = _chinese(passage, frequency) if language == "zh" else _english(passage, frequency)
        groups.append(_group(" ".join(words), passage, passages, rng))
    return groups


def translation_groups(
    concepts: list[Concept], pool: list[Concept], source: str, target: str
) -> list[Group]:
    """Query: a held-out passage; documents: passages in the other language."""
    rng = random.Random(f"passages {source} {target}")
    passages = [getattr(concept, f"{target}_passage") for concept in pool]
    return [
        _group(
            getattr(concept, f"{source}_passage"),
            getattr(concept, f"{target}_passage"),
            passages,
            rng,
        )
        for concept in concepts
    ]


def _group(query: str, positive: str, passages: list[str], rng: random.Random) -> Group:
    wrong: list[str] = []
    for passage in rng.sample(passages, len(passages)):
        if len(wrong) == NEGATIVES:
            break
        if passage not in wrong and bm25.overlap(passage, positive) < NEAR_DUPLICATE:
            wrong.append(passage)
    return Group(query, [positive, *wrong], [2] + [0] * len(wrong))


def _english(passage: str, frequency: Counter[str]) -> list[str]:
    words = re.findall(r"[A-Za-z]{3,}", passage)
    rarest = sorted(set(words), key=lambda word: (frequency[word.lower()], word))
    chosen = set(rarest[:ENGLISH_KEYWORDS])
    return [word for word in dict.fromkeys(words) if word in chosen]


def _chinese(passage: str, frequency: Counter[str]) -> list[str]:
    """Spans of three characters from different clauses, those with the rarest pairs."""
    spans = []
    for clause in re.findall(r"[\u4e00-\u9fff]{3,}", passage):
        starts = range(len(clause) - SPAN_CHARACTERS + 1)
        options = [clause[i : i + SPAN_CHARACTERS] for i in starts]
        spans.append(min(options, key=lambda s: (frequency[s[:2]] + frequency[s[1:]], s)))
    rarest = sorted(spans, key=lambda s: (frequency[s[:2]] + frequency[s[1:]], s))[:CHINESE_SPANS]
    return [span for span in spans if span in rarest]
