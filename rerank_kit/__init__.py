"""Launch a vLLM Qwen3-Reranker server, get the right scores from it, and stop paying."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rerank_kit.client import (
        AsyncReranker,
        LongDocuments,
        RankedDocument,
        Ranking,
        Rankings,
        Reranker,
    )
    from rerank_kit.doctor import Examination, examine
    from rerank_kit.errors import RerankKitError
    from rerank_kit.server import Server, launch

_HOMES = {
    "AsyncReranker": "rerank_kit.client",
    "Examination": "rerank_kit.doctor",
    "LongDocuments": "rerank_kit.client",
    "RankedDocument": "rerank_kit.client",
    "Ranking": "rerank_kit.client",
    "Rankings": "rerank_kit.client",
    "Reranker": "rerank_kit.client",
    "RerankKitError": "rerank_kit.errors",
    "Server": "rerank_kit.server",
    "examine": "rerank_kit.doctor",
    "launch": "rerank_kit.server",
}
__all__ = [
    "AsyncReranker",
    "Examination",
    "LongDocuments",
    "RankedDocument",
    "Ranking",
    "Rankings",
    "Reranker",
    "RerankKitError",
    "Server",
    "examine",
    "launch",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import rerank_kit` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rerank_kit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
