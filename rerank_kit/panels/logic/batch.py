"""Many queries against the same documents: what was asked, what came back, its files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rerank_kit.client import Ranking, Reranker
from rerank_kit.client.documents import documents_in, text_of, texts_of
from rerank_kit.client.scoring import PAIRS_PER_REQUEST
from rerank_kit.errors import InputError
from rerank_kit.panels.logic.files import csv_text

#: A call of rank_many takes queries for so many pairs, two full requests: often enough to show
#: how far it is, and to stop.
_PAIRS_A_CALL = 2 * PAIRS_PER_REQUEST


@dataclass(frozen=True)
class RankedBatch:
    """rankings: in the order of the queries; fewer than were asked when it was stopped."""

    rankings: tuple[Ranking, ...]
    asked: int
    documents: int
    instruction_name: str
    seconds: float

    def summary(self) -> str:
        """What was done, in one sentence."""
        some = "" if len(self.rankings) == self.asked else f" of {self.asked:,}"
        return (
            f"{len(self.rankings):,}{some} queries, {self.documents:,} documents each, "
            f"{self.seconds:,.1f} s, model {self.rankings[0].model if self.rankings else '-'}"
        )

    def notes(self) -> list[str]:
        """What all rankings say, each once."""
        return list(dict.fromkeys(note for one in self.rankings for note in one.notes))

    def as_csv(self) -> str:
        """query_number, query, rank, score, index, id, text: a line for each ranked document."""
        return csv_text(
            ("query_number", "query", "rank", "score", "index", "id", "text"),
            ([number, one.query, row.rank, row.score, row.index, row.id or "", row.text]
             for number, one in enumerate(self.rankings, start=1) for row in one),
        )  # fmt: skip

    def as_json(self) -> str:
        """A list, each item with the keys of `rerank-kit rank --json`."""
        return json.dumps(
            [{"query": one.query, "instruction": one.instruction, "model": one.model,
              "results": [row.as_dict() for row in one], "notes": list(one.notes)}
             for one in self.rankings],
            ensure_ascii=False, indent=1,
        )  # fmt: skip


def queries_of(text: str, file: tuple[str, bytes] | None) -> list[str]:
    """Queries out of a box or a file (its name and bytes), one a line, or JSON lines with "text".
    Raises FileInputError where there are none."""
    name = "the box of queries"
    if file is not None:
        name, text = file[0], text_of(file[1], file[0])
    if not text.strip():
        raise InputError("There are no queries.", hint="one a line, in the box or in a file")
    return texts_of(documents_in(text, name))


def rank_batch(
    reranker: Reranker,
    queries: Sequence[str],
    documents: list[str | dict[str, Any]],
    on_progress: Callable[[int], bool],
    instruction_name: str = "",
    **options: Any,
) -> RankedBatch:
    """reranker.rank_many() for all queries, some at a time. on_progress: told how many are done;
    False from it ends the batch with what is there. options: those of rank_many()."""
    started = time.monotonic()
    at_once = max(1, _PAIRS_A_CALL // max(1, len(documents)))
    done: list[Ranking] = []
    while len(done) < len(queries) and on_progress(len(done)):
        some = queries[len(done) : len(done) + at_once]
        done += reranker.rank_many(
            [(query, documents) for query in some], progress=False, **options
        )
    return RankedBatch(
        tuple(done), len(queries), len(documents), instruction_name, time.monotonic() - started
    )
