"""Search in two stages over one's own texts, and the measurements that say whether it helps.

    documents = read_folder("my texts").documents
    search = Search(Bm25(documents), Reranker())
    search.run("how do I get my money back", depth=50, top_n=5)

    labelled = shipped("technical")
    compare(labelled, Search(Bm25(labelled.documents), Reranker()))

Needs the `search` extra: pip install "rerank-kit[search]".
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_kit.search.documents import Document, Library, read_folder
    from rerank_kit.search.evaluate import Comparison, compare
    from rerank_kit.search.judge import Judging
    from rerank_kit.search.labelled import Labelled, read_labelled, shipped
    from rerank_kit.search.pipeline import Search
    from rerank_kit.search.recall import Bm25, Embeddings, Everything, Hybrid

_HOMES = {
    "Bm25": "recall",
    "Comparison": "evaluate",
    "Document": "documents",
    "Embeddings": "recall",
    "Everything": "recall",
    "Hybrid": "recall",
    "Judging": "judge",
    "Labelled": "labelled",
    "Library": "documents",
    "Search": "pipeline",
    "compare": "evaluate",
    "read_folder": "documents",
    "read_labelled": "labelled",
    "shipped": "labelled",
}
__all__ = [
    "Bm25",
    "Comparison",
    "Document",
    "Embeddings",
    "Everything",
    "Hybrid",
    "Judging",
    "Labelled",
    "Library",
    "Search",
    "compare",
    "read_folder",
    "read_labelled",
    "shipped",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: the search extra is heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rerank_kit.search' has no attribute {name!r}")
    return getattr(import_module(f"rerank_kit.search.{_HOMES[name]}"), name)
