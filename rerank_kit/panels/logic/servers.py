"""Which reranker a panel asks."""

from __future__ import annotations

import contextlib
import os

from rerank_kit import registry
from rerank_kit.client import Reranker
from rerank_kit.errors import NoServerError
from rerank_kit.registry import ServerRecord


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
            raise no_server() from None


def no_server() -> NoServerError:
    """What to say where a panel needs a server: none runs, or one is not ready yet."""
    if any(record.state == "starting" for record in registry.living()):
        return NoServerError(
            "The server is still starting.",
            hint="wait until the Launch panel says that it is ready, then press again",
        )
    return NoServerError(
        "No server is running here yet.",
        hint="start one in the Launch panel, or: rerank-kit launch",
    )


def note_for_the_page(record: ServerRecord) -> None:
    """scripts/webapp.sh ends at Ctrl-C what was started in its page: it reads this file."""
    path = os.environ.get("RERANK_KIT_WEBAPP_SERVERS")
    if path and record.launcher_pid == os.getpid():
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{record.port}\n")
