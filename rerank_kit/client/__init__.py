"""Talk to a reranking server."""

from rerank_kit.client.asynchronous import AsyncReranker
from rerank_kit.client.long_documents import LongDocuments, Passage
from rerank_kit.client.ranking import RankedDocument, Ranking, Rankings, UnscoredDocument
from rerank_kit.client.reranker import Reranker

__all__ = [
    "AsyncReranker",
    "LongDocuments",
    "Passage",
    "RankedDocument",
    "Ranking",
    "Rankings",
    "Reranker",
    "UnscoredDocument",
]
