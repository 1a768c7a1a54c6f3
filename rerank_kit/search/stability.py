"""Does the first result stay the same when nothing that matters has changed?

Three harmless changes: the documents come in another order, the query is worded differently, the
server computes with another precision. A first result which depends on them is a matter of luck.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rerank_kit.client.documents import read_text
from rerank_kit.client.ranking import clip
from rerank_kit.client.reranker import Reranker
from rerank_kit.errors import FileInputError, InputError
from rerank_kit.memory.show import aligned
from rerank_kit.search.labelled import CORPORA, Labelled, Query
from rerank_kit.search.pipeline import DEPTH, Search

SHUFFLES = 3
SEED = 20261121


@dataclass(frozen=True)
class Moved:
    """One comparison with another first result. lead: how far the first result was ahead of the
    second before the change (in the scores that were compared); None with a single candidate."""

    query: str
    changed_query: str
    first_before: str
    first_after: str
    lead: float | None


@dataclass(frozen=True)
class Stability:
    """One kind of change. compared: how many pairs of rankings. same_first: those with the same
    first result. answer_before, answer_after: how often it was an answer.
    largest_score_change: of the same pair of query and document; None where the query changed.
    scores: "logits" or "probabilities"."""

    change: str
    compared: int
    same_first: int
    answer_before: int
    answer_after: int
    largest_score_change: float | None
    scores: str
    moved: tuple[Moved, ...]

    @property
    def share(self) -> float:
        return self.same_first / self.compared

    def as_dict(self) -> dict[str, Any]:
        largest = self.largest_score_change
        return {
            "change": self.change, "compared": self.compared, "same_first": self.same_first,
            "share": round(self.share, 4), "answer_first_before": self.answer_before,
            "answer_first_after": self.answer_after, "scores": self.scores,
            "largest_score_change": None if largest is None else round(largest, 6),
            "moved": [vars(one) for one in self.moved],
        }  # fmt: skip


#: (query, document id) in order of relevance, with scores.
_Scored = list[tuple[str, float]]


def shuffled_documents(
    labelled: Labelled, search: Search, *, depth: int = DEPTH, shuffles: int = SHUFFLES,
    seed: int = SEED,
) -> Stability:  # fmt: skip
    """The same candidates in several random orders, against the order in which recall has them."""
    chance = random.Random(seed)
    pairs = []
    for query in labelled.queries:
        candidates = _candidates(search, query.text, depth)
        before = _rank(search, query.text, candidates)
        for _ in range(shuffles):
            mixed = chance.sample(candidates, len(candidates))
            pairs.append((query, query.text, before, _rank(search, query.text, mixed)))
    return _stability(f"documents shuffled {shuffles} times", pairs, search)


def changed_wording(
    labelled: Labelled, search: Search, rewordings: dict[str, list[str]], *, depth: int = DEPTH
) -> Stability:
    """Other words for the same question, through both stages (recall may lose the answer, too).
    rewordings: query id -> texts, as read_rewordings returns them."""
    pairs = []
    for query in labelled.queries:
        texts = rewordings.get(query.id, [])
        before = _search(search, query.text, depth) if texts else []
        pairs += [(query, text, before, _search(search, text, depth)) for text in texts]
    if not pairs:
        raise InputError(f"There is no rewording of a query of {labelled.name}.")
    return replace(
        _stability("queries worded differently", pairs, search), largest_score_change=None
    )


def other_server(
    labelled: Labelled, search: Search, other: Reranker, *, depth: int = DEPTH
) -> Stability:
    """The same candidates scored by a second server: the same model in lower precision, say."""
    twin = Search(search.recall, other, search.instruction, raw_scores=search.raw_scores)
    pairs = []
    for query in labelled.queries:
        candidates = _candidates(search, query.text, depth)
        pairs.append((
            query, query.text, _rank(search, query.text, candidates),
            _rank(twin, query.text, candidates),
        ))  # fmt: skip
    return _stability("scored by the other server", pairs, search)


def shipped_rewordings(name: str) -> dict[str, list[str]]:
    """The rewordings that travel with a corpus of this package (machine-made, see its card)."""
    return read_rewordings(CORPORA / name / "rewordings.jsonl")


def read_rewordings(path: str | Path) -> dict[str, list[str]]:
    """{query id: [texts]} from JSON lines {"query-id": "q001", "text": "..."}."""
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(str(path)).split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
                found.setdefault(str(row["query-id"]), []).append(str(row["text"]))
            except (ValueError, KeyError, TypeError):
                raise FileInputError(
                    f'Line {number} of {path} is no object with "query-id" and "text".',
                    hint='{"query-id": "q001", "text": "the same question in other words"}',
                ) from None
    return found


def stability_text(found: Sequence[Stability], most: int = 5) -> str:
    """All kinds of change as an aligned table, then the first results that moved."""
    rows = [["change", "same first result", "", "answer first", "largest score change"]]
    for one in found:
        largest = one.largest_score_change
        rows.append([
            one.change, f"{one.same_first} of {one.compared}", f"{one.share:.1%}",
            f"{one.answer_before} -> {one.answer_after}",
            "-" if largest is None else f"{largest:.6f} ({one.scores})",
        ])  # fmt: skip
    lines = aligned(rows, numbers=(1, 2))
    for one in found:
        if one.moved:
            lines += ["", f"{one.change}: another first result, closest calls first"]
            for moved in one.moved[:most]:
                lead = "" if moved.lead is None else f"  (lead had been {moved.lead:.4f})"
                words = moved.query if moved.changed_query == moved.query else (
                    f"{moved.query} / {moved.changed_query}"
                )  # fmt: skip
                lines.append(
                    f"  {moved.first_before or 'nothing'} -> {moved.first_after or 'nothing'}"
                    f"  {clip(words, 70)}{lead}"
                )
            if len(one.moved) > most:
                lines.append(f"  and {len(one.moved) - most} more (--json has all)")
    return "\n".join(lines)


def _candidates(search: Search, query: str, depth: int) -> list[int]:
    return search.recall.find(query, depth)


def _rank(search: Search, query: str, places: Sequence[int]) -> _Scored:
    if search.reranker is None:
        raise InputError("Stability is a question about a reranker, and this search has none.")
    chosen = [search.documents[place] for place in places]
    if not chosen:
        return []
    ranking = search.reranker.rank(
        query, [one.whole for one in chosen], search.instruction,
        raw_scores=search.raw_scores, progress=False,
    )  # fmt: skip
    return [(chosen[one.index].id, one.score) for one in ranking]


def _search(search: Search, query: str, depth: int) -> _Scored:
    return _rank(search, query, _candidates(search, query, depth))


def _stability(
    change: str, pairs: Sequence[tuple[Query, str, _Scored, _Scored]], search: Search
) -> Stability:
    moved, same, largest = [], 0, 0.0
    answers = [0, 0]
    for query, text, before, after in pairs:
        old, new = (ranking[0][0] if ranking else "" for ranking in (before, after))
        for at, first in enumerate((old, new)):
            answers[at] += query.grades.get(first, 0) == max(query.grades.values())
        scores = dict(before)
        gaps = [abs(score - scores[key]) for key, score in after if key in scores]
        largest = max([largest, *gaps])
        if old == new:
            same += 1
        else:
            lead = before[0][1] - before[1][1] if len(before) > 1 else None
            moved.append(Moved(query.text, text, old, new, lead))
    moved.sort(key=lambda one: (one.lead is None, one.lead))
    return Stability(
        change, len(pairs), same, answers[0], answers[1], largest,
        "logits" if search.raw_scores else "probabilities", tuple(moved),
    )  # fmt: skip
