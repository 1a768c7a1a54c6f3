"""The client: rank documents for a query, or score pairs, through any running server."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rerank_kit import registry
from rerank_kit.client import texts
from rerank_kit.client.assembly import make_ranking, name_pair
from rerank_kit.client.engines import Engine, ServedModel, detect, engine_named
from rerank_kit.client.jobs import Outcome, Pair, Settings, Work
from rerank_kit.client.long_documents import LongDocuments
from rerank_kit.client.options import RankOptions, progress_bar
from rerank_kit.client.ranking import Ranking, Rankings
from rerank_kit.client.scoring import Scorer
from rerank_kit.client.tokenizer import ServerTokenizer
from rerank_kit.client.transport import (
    DEFAULT_RETRY_SECONDS,
    DEFAULT_TIMEOUT_SECONDS,
    Transport,
)
from rerank_kit.errors import InputError, NoServerError, ResponseError

#: From this many documents on a progress bar is shown unless progress=False.
PROGRESS_FROM = 1000


class Reranker:
    """A client of one server. Threads may share it.

    url: root, /v1 or full /v1/rerank address; None takes RERANK_URL, else the server that
    rerank_kit runs on this machine. api_key: None takes RERANK_API_KEY.
    timeout_seconds: limit of one request. retry_seconds: how long a server that has answered may
    be away (a restart takes 20 to 60 s) before the call fails; nothing is lost or scored twice.
    engine: vllm, sglang, tei, infinity, or auto; vllm-no-template for a vLLM that runs without
    our chat template and that you cannot start anew (the client then writes the whole prompt).
    Raises NoServerError when there is no server.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        model: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
        engine: str = "auto",
    ) -> None:
        if model is not None and not isinstance(model, str):
            raise InputError(f"model must be a name, not {texts.shown(model)}")
        self._transport = Transport(
            default_url() if url is None else url, api_key, timeout_seconds,
            retry_seconds=retry_seconds,
        )  # fmt: skip
        self._wanted_model = model or None
        self._engine: Engine | None = None if engine == "auto" else engine_named(engine)
        self._told: Any = None
        self._served: ServedModel | None = None
        self._tokenizer: ServerTokenizer | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self._transport.root

    @property
    def transport(self) -> Transport:
        """The underlying transport, for requests that this class has no verb for."""
        return self._transport

    def __repr__(self) -> str:
        return f"Reranker({self.url!r})"

    def rank(
        self,
        query: str,
        documents: Iterable[str | Mapping[str, Any]],
        instruction: str | None = None,
        top_n: int | None = None,
        *,
        threshold: float | None = None,
        return_documents: bool = True,
        raw_scores: bool = False,
        max_tokens_per_doc: int | None = None,
        long_documents: LongDocuments | str = "chunk",
        max_chunks_per_doc: int | None = None,
        progress: bool | None = None,
    ) -> Ranking:
        """Order documents by relevance to query.

        documents: strings, or dicts with "text" and optionally "id". instruction: what
        "relevant" means, in English; None is the official default. top_n: how many to return,
        threshold: leave out lower scores (every document is scored all the same).
        return_documents: False leaves the texts out of the result. raw_scores: logits instead
        of probabilities; they differ where probabilities are all 1.000.

        A document too long for the server never fails the others. long_documents: "chunk"
        (default) scores it in passages, the best one counts; "cut" scores its beginning;
        "skip" lists it in `unscored`; "error" raises RequestTooLongError; or a LongDocuments
        for passages of a chosen length. max_chunks_per_doc: read so many passages of it at most.
        max_tokens_per_doc: let the server cut all documents to this length. Raises InputError
        and the RequestErrors.
        """
        jobs = [(query, documents)]
        options = RankOptions(
            instruction, top_n, threshold, return_documents, raw_scores, max_tokens_per_doc,
            long_documents, max_chunks_per_doc, progress,
        )  # fmt: skip
        return self._rank_all(jobs, options, name_queries=False)[0]

    def rank_many(
        self,
        jobs: Iterable[tuple[str, Iterable[str | Mapping[str, Any]]]],
        instruction: str | None = None,
        top_n: int | None = None,
        *,
        threshold: float | None = None,
        return_documents: bool = True,
        raw_scores: bool = False,
        max_tokens_per_doc: int | None = None,
        long_documents: LongDocuments | str = "chunk",
        max_chunks_per_doc: int | None = None,
        progress: bool | None = None,
    ) -> Rankings:
        """rank() for many queries, each with its own list of any length.

        jobs: (query, documents) pairs. Pairs of several queries share requests, so a thousand
        short lists take a few full requests. The rankings come in the order of the jobs. The
        other arguments are those of rank().
        """
        listed = []
        for place, job in enumerate(texts.listed(jobs)):
            if isinstance(job, str | Mapping) or not isinstance(job, Sequence) or len(job) != 2:
                raise InputError(
                    f"job {place} is not a (query, documents) pair: {texts.shown(job)}"
                )
            listed.append((job[0], job[1]))
        options = RankOptions(
            instruction, top_n, threshold, return_documents, raw_scores, max_tokens_per_doc,
            long_documents, max_chunks_per_doc, progress,
        )  # fmt: skip
        return self._rank_all(listed, options, name_queries=True)

    def score(
        self,
        pairs: Iterable[tuple[str, str]],
        instruction: str | None = None,
        *,
        raw_scores: bool = False,
        max_tokens_per_doc: int | None = None,
        long_documents: LongDocuments | str = "chunk",
        max_chunks_per_doc: int | None = None,
        progress: bool | None = None,
    ) -> list[float]:
        """The relevance score, 0 to 1, of each (query, document) pair, in the order given.

        The arguments are those of rank(); a pair that cannot be scored raises its error, with
        its place. score_pairs() returns what became of every pair instead.
        """
        wording = texts.instruction_text(instruction)
        sent = [
            Pair(*texts.pair(pair, f"pair {place}"), wording)
            for place, pair in enumerate(texts.listed(pairs))
        ]
        options = RankOptions(
            instruction, None, None, True, raw_scores, max_tokens_per_doc,
            long_documents, max_chunks_per_doc, progress,
        )  # fmt: skip
        outcomes = self.score_pairs(sent, options.settings(), progress=progress)
        scores = []
        for place, outcome in enumerate(outcomes):
            if outcome.score is None:
                raise name_pair(f"Pair {place}", outcome)
            scores.append(outcome.score)
        return scores

    def score_pairs(
        self,
        pairs: list[Pair],
        settings: Settings | None = None,
        *,
        progress: bool | None = False,
        work: Work | None = None,
    ) -> list[Outcome]:
        """One Outcome for each pair, in order; each pair has its own instruction. An error that
        concerns one pair is in its outcome; one that concerns the server is raised."""
        if not pairs:
            return []
        scorer = Scorer(
            self._transport, self.engine, self.served, settings or Settings(), self.tokenizer
        )
        scorer.work = work or scorer.work
        show = progress if progress is not None else len(pairs) >= PROGRESS_FROM
        with progress_bar(show) as advance:
            return scorer.score(pairs, advance)

    @property
    def engine(self) -> Engine:
        """The adapter of the engine that answers there, found out once."""
        with self._lock:
            if self._engine is None:
                self._engine, self._told = detect(self._transport)
            return self._engine

    @property
    def served(self) -> ServedModel:
        """The model's name and context length, asked once."""
        engine = self.engine
        with self._lock:
            if self._served is None:
                found = engine.describe(self._transport, self._told)
                if self._wanted_model:
                    found = ServedModel(self._wanted_model, found.max_model_len, found.max_pairs)
                self._served = found
            return self._served

    @property
    def tokenizer(self) -> ServerTokenizer:
        """The server's tokenizer: counts and borders of tokens."""
        name = self.served.name
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = ServerTokenizer(self._transport, name)
            return self._tokenizer

    @property
    def model(self) -> str:
        """The name of the served model, asked once."""
        if self._wanted_model:
            return self._wanted_model
        if self.served.name is None:
            raise ResponseError(f"{self.url} does not name a model.", hint="pass model=")
        return self.served.name

    def _rank_all(
        self, jobs: list[tuple[Any, Any]], options: RankOptions, *, name_queries: bool
    ) -> Rankings:
        began = time.monotonic()
        settings = options.settings()
        wording = texts.instruction_text(options.instruction)
        asked, pairs, work = [], [], Work()
        for place, (query, documents) in enumerate(jobs):
            where = f" of query {place}" if name_queries else ""
            clean_query, found = texts.clean(query, f"query {place}" if name_queries else "query")
            items = [
                texts.document(item, f"document {number}{where}")
                for number, item in enumerate(texts.listed(documents))
            ]
            asked.append((query, found, items))
            pairs += [Pair(clean_query, item.harmless, wording, item.text) for item in items]
        outcomes = iter(self.score_pairs(pairs, settings, progress=options.progress, work=work))
        seconds = time.monotonic() - began
        model = self._name_to_show()
        rankings = tuple(
            make_ranking(
                query, options.instruction, model, found, items,
                [next(outcomes) for _ in items],
                top_n=options.top_n, threshold=options.threshold, settings=settings,
                with_texts=options.return_documents, raise_errors=not name_queries,
                prompt_tokens=None if name_queries else work.prompt_tokens,
                seconds=None if name_queries else seconds,
            )
            for query, found, items in asked
        )  # fmt: skip
        return Rankings(rankings, work.requests, work.prompt_tokens, seconds)

    def _name_to_show(self) -> str:
        return self._wanted_model or self.served.name or self.engine.name


def default_url() -> str:
    """RERANK_URL, else the newest server that rerank_kit runs here, else NoServerError."""
    named = os.environ.get("RERANK_URL")
    if named:
        return named
    ready = [record for record in registry.living() if record.state == "ready"]
    if not ready:
        raise NoServerError(
            "No server is named and none of ours is running on this machine.",
            hint="run `rerank-kit launch`, or set RERANK_URL to a server's address",
        )
    return ready[-1].url
