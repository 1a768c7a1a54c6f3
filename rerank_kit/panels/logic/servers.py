"""Which reranker a panel asks."""

from __future__ import annotations

from rerank_kit.client import Reranker
from rerank_kit.errors import NoServerError


class RerankerSource:
    """The reranker that was given, else whatever server runs when it is asked for. A server
    that was started anew at the same address is asked anew for its model."""

    def __init__(self, given: Reranker | None = None) -> None:
        self._given = given

    def get(self) -> Reranker:
        """Raises NoServerError."""
        if self._given is not None:
            return self._given
        try:
            return Reranker()
        except NoServerError:
            raise NoServerError(
                "No server is running here yet.",
                hint="start one in the Launch panel, or: rerank-kit launch",
            ) from None
