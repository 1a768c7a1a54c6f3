"""Talk to a reranking server."""

from rerank_kit.client.ranking import RankedDocument, Ranking
from rerank_kit.client.reranker import Reranker

__all__ = ["RankedDocument", "Ranking", "Reranker"]
