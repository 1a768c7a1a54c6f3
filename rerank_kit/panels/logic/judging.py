"""The Judge panel without its widgets: blind labels on one's own texts, then the verdict."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rerank_kit import registry
from rerank_kit.client import Reranker
from rerank_kit.errors import InputError
from rerank_kit.panels.logic.servers import RerankerSource
from rerank_kit.panels.logic.texts import OWN_FOLDER, SOURCES, read_texts
from rerank_kit.panels.logic.work import Model
from rerank_kit.search.judge import Item, Judging
from rerank_kit.search.pipeline import DEPTH, Search
from rerank_kit.search.proposals import propose_queries
from rerank_kit.search.recall import Bm25
from rerank_kit.search.verdict import Verdict, verdict

DEFAULT_QUERIES = 10
GRADE_WORDS = {1: "useless", 2: "hardly", 3: "in part", 4: "good", 5: "exactly right"}


class JudgeModel(Model):
    """First the texts and queries, then one item after the other, then the verdict."""

    def __init__(self, reranker: Reranker | None = None, folder: str = "") -> None:
        super().__init__()
        self.reranker = RerankerSource(reranker)
        self.source = OWN_FOLDER if folder else SOURCES[0]
        self.folder = folder
        self.queries = ""
        self.who = ""
        self.count = DEFAULT_QUERIES
        self.depth = DEPTH
        self.price_per_hour = 0.0
        self.currency = ""
        self.session: Judging | None = None
        self.item: Item | None = None
        self.verdict: Verdict | None = None
        self.proposed = ""

    def session_path(self) -> Path:
        """Where the judgements are kept: the same person, texts and queries go on where
        they stopped."""
        key = "\n".join(
            [self.who, self.source, self.folder, str(self.depth), *self.query_list()]
        )
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        return registry.state_dir() / "judging" / f"{name}.json"

    def query_list(self) -> list[str]:
        return [line.strip() for line in self.queries.splitlines() if line.strip()]

    def propose(self) -> bool:
        """Fill in queries made from the texts, to be edited."""
        return self.begin("reading the texts", self._propose)

    def begin_judging(self) -> bool:
        """Search every query in both ways, or go on with a session that was interrupted."""
        return self.begin("searching every query in both ways", self._prepare)

    def grade(self, value: int) -> None:
        """Judge the item that is shown. The verdict is there when the last one is judged."""
        if self.session is None or self.item is None:
            raise InputError("There is nothing to judge now.")
        self.session.grade(self.item, value)
        self._next()
        self.changed()

    def undo(self) -> None:
        """Take the last judgement back."""
        if self.session is not None:
            back = self.session.undo()
            self.verdict = None
            if back is not None:
                self.item = back
        self.changed()

    def decide(self) -> None:
        """The verdict on what is judged so far."""
        with self.guarded():
            if self.session is None:
                raise InputError("Nothing is judged yet.")
            self.verdict = verdict(
                self.session, price_per_hour=self.price_per_hour or None, currency=self.currency
            )

    def _propose(self) -> None:
        texts = read_texts(self.source, self.folder)
        if texts.queries:
            chosen = list(texts.queries[: self.count])
            self.proposed = (
                "The questions that come with this corpus (machine-written: see its card)."
            )
        else:
            chosen = propose_queries(texts.documents, self.count)
            self.proposed = "Proposed from your texts. Real questions are better: edit them."
        self.queries = "\n".join(chosen)

    def _prepare(self) -> None:
        if not self.query_list():
            raise InputError("There are no queries.", hint="one a line, or press Propose queries")
        path = self.session_path()
        if path.exists():
            self.session = Judging.load(path)
        else:
            texts = read_texts(self.source, self.folder)
            search = Search(Bm25(texts.documents), self.reranker.get())
            self.session = Judging.prepare(
                search, self.query_list(), depth=self.depth, path=path
            )
        self.verdict = None
        self._next()

    def _next(self) -> None:
        assert self.session is not None
        self.item = self.session.next()
        if self.item is None:
            self.decide()
