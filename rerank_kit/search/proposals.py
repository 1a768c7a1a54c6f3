"""Queries for a collection that has none yet: proposed from its own texts, to be edited."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rerank_kit.errors import InputError
from rerank_kit.search.documents import Document
from rerank_kit.search.words import words_of

#: A proposal keeps this many words of a document: as many as people type.
WORDS_IN_A_QUERY = 5


def propose_queries(
    documents: Sequence[Document], count: int = 25, seed: int = 0
) -> list[str]:
    """count search queries: headings, or the words that set one document apart from the others.

    They are a start: such a query shares its words with its document, which favours a search by
    words. Replace as many as you can by questions that people really ask (a search log, the
    support mailbox). The same documents and seed give the same queries.
    """
    if count < 1:
        raise InputError(f"count must be at least 1, not {count}.")
    words = [words_of(document.whole) for document in documents]
    in_documents = Counter(word for row in words for word in set(row))
    places = [place for place, row in enumerate(words) if len(set(row)) >= 3]
    random.Random(seed).shuffle(places)
    queries: dict[str, None] = {}  # a set that keeps its order
    for place in places:
        query = _proposal(documents[place], in_documents, len(documents))
        if query:
            queries.setdefault(query)
        if len(queries) == count:
            break
    if not queries:
        raise InputError(
            "No query could be proposed: the documents are too short.",
            hint="write queries yourself, one a line",
        )
    return list(queries)


def _proposal(document: Document, in_documents: Counter[str], total: int) -> str:
    """The heading, where a person wrote one; else the rarest words in the order of the text."""
    heading = document.title.split(" > ")[-1].strip()
    made_by_us = document.source and Path(document.source).stem in heading
    if not made_by_us and len(words_of(heading)) >= 2:
        return " ".join(heading.split()[: 2 * WORDS_IN_A_QUERY])
    words = [word for word in words_of(document.text) if len(word) > 1 and not word.isdigit()]
    if len(set(words)) < WORDS_IN_A_QUERY:
        return ""
    counts = Counter(words)

    def weight(word: str) -> float:
        return (1 + math.log(counts[word])) * math.log(1 + total / in_documents[word])

    best = sorted(counts, key=lambda word: (-weight(word), words.index(word)))[:WORDS_IN_A_QUERY]
    return " ".join(sorted(best, key=words.index))
