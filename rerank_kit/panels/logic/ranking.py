"""The Rank panel without its widgets: pasted texts -> a ranking, its history, its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rerank_kit.client import Ranking, Reranker
from rerank_kit.client.documents import documents_in, text_of
from rerank_kit.client.instructions import glued_prefix, templates
from rerank_kit.errors import InputError
from rerank_kit.panels.logic.batch import RankedBatch, queries_of, rank_batch
from rerank_kit.panels.logic.files import csv_text
from rerank_kit.panels.logic.servers import RerankerSource
from rerank_kit.panels.logic.work import Model
from rerank_kit.prompt import DEFAULT_INSTRUCTION, render
from rerank_kit.samples import SAMPLES

#: How many earlier rankings are kept.
HISTORY = 10
#: Names of the two ways to paste.
LINES, PARAGRAPHS = "one a line", "paragraphs"
#: The picker's entries that are no template.
OFFICIAL, OWN = "official default", "my own words"
#: What a ranking is compared with.
INPUT, WORDS, PLAIN = "my own order", "a search by words (BM25)", "the official default instruction"
COMPARISONS = (INPUT, WORDS, PLAIN)


@dataclass(frozen=True)
class Row:
    """One line of the result. moved: places gained against the order that it is compared with;
    score_before: the score there, where that was a ranking, too."""

    rank: int
    score: float
    index: int
    moved: int
    text: str
    id: str | None = None
    score_before: float | None = None


@dataclass(frozen=True)
class Ranked:
    """One press of the button: what was asked and what came back. before: the document indexes
    in the order that it is compared with, and scores_before theirs. choices: the settings, in
    words, for two rankings side by side."""

    ranking: Ranking
    instruction_name: str
    asked: int
    compared_with: str
    before: tuple[int, ...]
    scores_before: tuple[float, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.ranking.seconds or 0.0

    def rows(self) -> list[Row]:
        place = {index: at for at, index in enumerate(self.before, start=1)}
        scores = dict(zip(self.before, self.scores_before, strict=False))
        return [
            Row(one.rank, one.score, one.index, place[one.index] - one.rank, one.text, one.id,
                scores.get(one.index))
            for one in self.ranking
        ]  # fmt: skip

    def summary(self) -> str:
        """What was done, in one sentence."""
        kept = len(self.ranking)
        shown = "" if kept == self.asked else f", {kept} shown"
        return (
            f"{self.asked} documents{shown}, {1000 * self.seconds:,.0f} ms, "
            f"model {self.ranking.model}"
        )

    def as_csv(self) -> str:
        """rank, score, index, id, text."""
        return csv_text(
            ("rank", "score", "index", "id", "text"),
            ([row.rank, row.score, row.index, row.id or "", row.text] for row in self.rows()),
        )

    def as_json(self) -> str:
        """The keys of `rerank-kit rank --json`, and what was asked."""
        return json.dumps(
            {
                "query": self.ranking.query, "instruction": self.ranking.instruction,
                "model": self.ranking.model,
                "results": [one.as_dict() for one in self.ranking],
                "notes": list(self.ranking.notes),
            },
            ensure_ascii=False, indent=1,
        )  # fmt: skip


class RankModel(Model):
    """What the Rank panel holds. The fields are what the user typed; rank() uses them."""

    def __init__(self, reranker: Reranker | None = None) -> None:
        super().__init__()
        self.source = RerankerSource(reranker)
        sample = SAMPLES[0]
        self.query = sample.query
        self.text = "\n".join(sample.documents)
        self.split_by = LINES
        self.file: tuple[str, bytes] | None = None
        self.top_n: int | None = None
        self.threshold: float | None = None
        self.long_documents = "chunk"
        self.instruction_name = OFFICIAL
        self.own_instruction = ""
        self.compare_with = INPUT
        self.shown: Ranked | None = None
        self.beside: Ranked | None = None
        self.history: list[Ranked] = []
        self.many = False
        self.queries = "\n".join(one.query for one in SAMPLES)
        self.queries_file: tuple[str, bytes] | None = None
        self.batch: RankedBatch | None = None
        self.done, self.wanted = 0, 0
        self._stop_wanted = False

    def documents(self) -> list[str | dict[str, Any]]:
        """The documents as they would be ranked now. Raises InputError."""
        name, text = "the box of documents", self.text
        if self.file is not None:
            name, text = self.file[0], text_of(self.file[1], self.file[0])
        return documents_in(text, name, paragraphs=self.split_by == PARAGRAPHS)

    def instruction_names(self) -> list[str]:
        return [OFFICIAL, *templates(), OWN]

    def instruction(self) -> str | None:
        """The chosen wording; None is the official default."""
        if self.instruction_name == OFFICIAL:
            return None
        if self.instruction_name == OWN:
            return self.own_instruction.strip() or None
        return templates()[self.instruction_name].text

    def about_instruction(self) -> str:
        """What the chosen instruction asks for, in the reader's words."""
        if self.instruction_name in (OFFICIAL, OWN):
            return self.instruction() or DEFAULT_INSTRUCTION
        found = templates()[self.instruction_name]
        return " ".join(filter(None, [found.text, found.zh]))

    def preview(self) -> str:
        """The very prompt that the model reads for the first document."""
        try:
            first = self.documents()[0]
        except InputError:
            first = ""
        text = str(first["text"]) if isinstance(first, Mapping) else first
        return render(self.query, text, self.instruction())

    def warning(self) -> str:
        """What in the query would mislead the model; "" when nothing would."""
        glued = glued_prefix(self.query)
        if not glued:
            return ""
        return f"“{glued}” is read as words of the query: choose an instruction instead."

    def rank(self) -> bool:
        """Rank in the background, one query or many. False when it is busy."""
        if self.busy:
            return False
        self._stop_wanted, self.done, self.wanted = False, 0, 0
        return self.begin("ranking", self._rank_many if self.many else self._rank)

    def stop(self) -> None:
        """End a batch after the request that is under way; what is ranked by then is kept."""
        self._stop_wanted = True

    def show(self, place: int) -> None:
        """Show an entry of the history again."""
        self.shown = self.history[place]
        self.changed()

    def put_beside(self, place: int | None) -> None:
        """Show an entry of the history beside the one that is shown; None: none."""
        self.beside = None if place is None else self.history[place]
        self.changed()

    def _rank_many(self) -> None:
        self.batch = None
        queries, documents = queries_of(self.queries, self.queries_file), self.documents()
        reranker, self.wanted = self.source.get(), len(queries)
        self.batch = rank_batch(
            reranker, queries, documents, self._on_progress, self.instruction_name,
            instruction=self.instruction(), top_n=self.top_n, threshold=self.threshold,
            long_documents=self.long_documents,
        )  # fmt: skip

    def _on_progress(self, done: int) -> bool:
        self.done = done
        self.changed()
        return not self._stop_wanted

    def _rank(self) -> None:
        if not self.query.strip():
            raise InputError("The query is empty.", hint="say what you are looking for")
        documents, reranker = self.documents(), self.source.get()
        ranking = reranker.rank(
            self.query, documents, self.instruction(), self.top_n,
            threshold=self.threshold, long_documents=self.long_documents, progress=False,
        )  # fmt: skip
        before, scores = self._before(reranker, documents)
        self.shown = Ranked(
            ranking, self.instruction_name, len(documents), self.compare_with, before, scores,
            self._choices(),
        )
        self.history = [self.shown, *self.history][:HISTORY]
        if self.beside not in self.history:
            self.beside = None

    def _choices(self) -> tuple[str, ...]:
        words = [f"instruction: {self.instruction_name}", f"too long: {self.long_documents}"]
        if self.top_n:
            words.append(f"shown: {self.top_n} at most")
        if self.threshold:
            words.append(f"lowest score: {self.threshold:g}")
        return tuple(words)

    def _before(
        self, reranker: Reranker, documents: list[str | dict[str, Any]]
    ) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """The order that the ranking is compared with, and its scores where it has any."""
        everything = range(len(documents))
        scores: tuple[float, ...] = ()
        first: list[int] = []
        if self.compare_with == WORDS:
            from rerank_kit.search.documents import Document
            from rerank_kit.search.recall import Bm25

            texts = [one["text"] if isinstance(one, Mapping) else one for one in documents]
            library = [Document(str(at), text) for at, text in enumerate(texts)]
            first = Bm25(library).find(self.query, len(library))
        elif self.compare_with == PLAIN:
            plain = reranker.rank(
                self.query, documents, long_documents=self.long_documents, progress=False
            )
            first, scores = [one.index for one in plain], tuple(plain.scores)
        found = set(first)
        return (*first, *(at for at in everything if at not in found)), scores
