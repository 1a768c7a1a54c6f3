"""The first stage: a cheap, broad search that finds candidates for the reranker.

Every recall has `documents` and `find(query, depth)`, which returns places in `documents`, best
first. A document that has nothing to do with the query is not returned only to fill the list.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

from rerank_kit.client.transport import Transport
from rerank_kit.errors import InputError, ResponseError
from rerank_kit.search.documents import Document
from rerank_kit.search.needs import need
from rerank_kit.search.words import words_of

#: Texts in one request to /v1/embeddings.
TEXTS_PER_REQUEST = 64
#: What Qwen3-Embedding reads before a query (its model card, "Instruct: ...\nQuery:..."); its
#: documents are read bare. Other models: their own, or "".
QWEN3_QUERY_PREFIX = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
#: Reciprocal rank fusion adds 1 / (60 + rank) (Cormack, Clarke and Buettcher, SIGIR 2009).
FUSION_CONSTANT = 60


class Recall(Protocol):
    """What a first stage must have."""

    name: str
    documents: Sequence[Document]

    def find(self, query: str, depth: int) -> list[int]: ...


class Bm25:
    """Recall by words: documents that share words with the query, rare words counting more.

    Knows nothing of meaning: a question in another language, or in other words, finds nothing.
    """

    name = "BM25"

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = _some(documents)
        bm25s = need("bm25s", "Recall by words")
        words = [words_of(document.whole) for document in documents]
        self._vocabulary = {word for row in words for word in row}
        self._index = bm25s.BM25()
        if self._vocabulary:
            self._index.index(words, show_progress=False)

    def find(self, query: str, depth: int) -> list[int]:
        """At most depth places. Fewer when fewer documents share a word with the query."""
        words = [word for word in words_of(query) if word in self._vocabulary]
        if not words:
            return []  # bm25s would return arbitrary documents with score 0
        depth = min(_positive(depth), len(self.documents))  # and raise for more than there are
        places, scores = self._index.retrieve([words], k=depth, show_progress=False)
        return [
            int(place) for place, score in zip(places[0], scores[0], strict=True) if score > 0
        ]


class Embeddings:
    """Recall by meaning: an embedding model behind any OpenAI-compatible /v1/embeddings.

    url: root, /v1 or full address. model: None asks the server. query_prefix: what the model
    wants before a query; None is Qwen3-Embedding's for a model of that name, else nothing.
    The documents are embedded once, here; the search is exact (numpy).
    """

    name = "embeddings"

    def __init__(
        self,
        documents: Sequence[Document],
        url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        query_prefix: str | None = None,
        timeout_seconds: float = 120,
    ) -> None:
        self.documents = _some(documents)
        # Not the reranker's key: this may be another server, and a key goes to its own only.
        key = api_key if api_key is not None else os.environ.get("EMBEDDINGS_API_KEY", "")
        self._transport = Transport(url, key, timeout_seconds)
        self.model = model or _first_model(self._transport)
        if query_prefix is None:
            query_prefix = QWEN3_QUERY_PREFIX if "qwen3-embedding" in self.model.lower() else ""
        self.query_prefix = query_prefix
        self._vectors = self._embed([document.whole for document in documents])

    def find(self, query: str, depth: int) -> list[int]:
        """The depth documents whose vectors point most nearly where the query's points."""
        numpy = need("numpy", "Recall by embeddings")
        likeness = self._vectors @ self._embed([self.query_prefix + query])[0]
        best = numpy.argsort(-likeness, kind="stable")[: _positive(depth)]
        return [int(place) for place in best]

    def _embed(self, texts: Sequence[str]) -> Any:
        numpy = need("numpy", "Recall by embeddings")
        rows: list[list[float]] = []
        for start in range(0, len(texts), TEXTS_PER_REQUEST):
            batch = list(texts[start : start + TEXTS_PER_REQUEST])
            answer = self._transport.post(
                "/v1/embeddings", {"model": self.model, "input": batch, "encoding_format": "float"}
            )
            try:
                by_place = {int(row["index"]): row["embedding"] for row in answer["data"]}
                rows += [by_place[place] for place in range(len(batch))]
            except (KeyError, TypeError, ValueError):
                raise ResponseError(
                    f"The answer of {self._transport.root} does not hold {len(batch)} embeddings.",
                    evidence=str(answer)[:120], hint="is this an embedding model's server?",
                ) from None
        vectors = numpy.asarray(rows, dtype=numpy.float32)
        lengths = numpy.linalg.norm(vectors, axis=1, keepdims=True)
        if not numpy.isfinite(vectors).all() or (lengths == 0).any():
            raise ResponseError(
                "The server sent embeddings that are no directions (zeros or NaN).",
                hint="a broken half-precision start does that; try another dtype",
            )
        return vectors / lengths


class Hybrid:
    """Several recalls in one: reciprocal rank fusion, which needs no scores, only ranks."""

    def __init__(self, *recalls: Recall) -> None:
        if len(recalls) < 2:
            raise InputError("Hybrid needs at least two recalls.")
        first = recalls[0].documents
        if any(list(one.documents) != list(first) for one in recalls[1:]):
            raise InputError("Recalls can only be fused over the same documents.")
        self.recalls, self.documents = recalls, first
        self.name = " + ".join(one.name for one in recalls)

    def find(self, query: str, depth: int) -> list[int]:
        """The best depth of all, a document near the top of several lists first."""
        points: dict[int, float] = {}
        for recall in self.recalls:
            for rank, place in enumerate(recall.find(query, _positive(depth)), start=1):
                points[place] = points.get(place, 0.0) + 1 / (FUSION_CONSTANT + rank)
        return sorted(points, key=lambda place: (-points[place], place))[:depth]


class Everything:
    """No first stage: all documents in their own order, for the reranker to look at each.

    Right for a small collection, and for asking what the reranker could do if recall missed
    nothing. The time grows with the collection. depth is not applied.
    """

    name = "everything"

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = _some(documents)

    def find(self, query: str, depth: int) -> list[int]:
        return list(range(len(self.documents)))


def _some(documents: Sequence[Document]) -> Sequence[Document]:
    if not documents:
        raise InputError("There are no documents to search in.")
    return documents


def _positive(depth: int) -> int:
    if depth < 1:
        raise InputError(f"depth must be at least 1, not {depth}.")
    return depth


def _first_model(transport: Transport) -> str:
    try:
        return str(transport.get("/v1/models")["data"][0]["id"])
    except (KeyError, IndexError, TypeError):
        raise ResponseError(
            f"{transport.root}/v1/models does not name a model.", hint="name it: model=..."
        ) from None
