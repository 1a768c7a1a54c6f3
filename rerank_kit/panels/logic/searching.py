"""The Search panel without its widgets: two stages over a folder, both orders side by side."""

from __future__ import annotations

from rerank_kit.client import Reranker
from rerank_kit.errors import NoServerError
from rerank_kit.panels.logic.servers import RerankerSource
from rerank_kit.panels.logic.texts import OWN_FOLDER, SOURCES, Texts, read_texts
from rerank_kit.panels.logic.work import Model, problem_of
from rerank_kit.search.pipeline import DEPTH, Found, Search, SearchResult
from rerank_kit.search.recall import Bm25

TOP_N = 5


class SearchModel(Model):
    """source and folder say which texts; recalled and reranked are the two first pages."""

    def __init__(self, reranker: Reranker | None = None, folder: str = "") -> None:
        super().__init__()
        self.reranker = RerankerSource(reranker)
        self.source = OWN_FOLDER if folder else SOURCES[0]
        self.folder = folder
        self.query = ""
        self.depth = DEPTH
        self.top_n = TOP_N
        self.instruction = ""
        self.texts: Texts | None = None
        self.recalled: list[Found] = []
        self.result: SearchResult | None = None
        self._recall: Bm25 | None = None
        self._read: tuple[str, str] | None = None

    def read(self) -> bool:
        """Read the texts in the background, so that sample questions can be offered."""
        return self.begin("reading the texts", self._prepare)

    def search(self) -> bool:
        """Search in the background. Without a server recall alone is shown, and why."""
        return self.begin("searching", self._search)

    @property
    def reranked(self) -> list[Found]:
        if self.result is None or not self.result.model:
            return []
        return list(self.result[: self.top_n])

    def _prepare(self) -> None:
        wanted = (self.source, self.folder)
        if self._read == wanted:
            return
        self.recalled, self.result, self._read = [], None, None
        self.texts = read_texts(self.source, self.folder)
        self._recall = Bm25(self.texts.documents)
        self._read = wanted
        if not self.query.strip() and self.texts.queries:
            self.query = self.texts.queries[0]

    def _search(self) -> None:
        self._prepare()
        assert self._recall is not None
        try:
            reranker = self.reranker.get()
        except NoServerError as error:
            self.problem = problem_of(error)
            reranker = None
        search = Search(self._recall, reranker, self.instruction.strip() or None)
        self.result = search.run(self.query, self.depth, None)
        by_recall = sorted(self.result, key=lambda one: one.recall_rank)
        self.recalled = by_recall[: self.top_n]
