"""The Doctor panel without its widgets."""

from __future__ import annotations

import os

from rerank_kit.client.reranker import default_url
from rerank_kit.doctor import Examination, examine
from rerank_kit.errors import NoServerError
from rerank_kit.panels.logic.servers import no_server
from rerank_kit.panels.logic.work import Model


class DoctorModel(Model):
    """url: the server to examine; "" takes RERANK_URL, else ours. The key is RERANK_API_KEY: it
    is never typed into a page."""

    def __init__(self, url: str | None = None) -> None:
        super().__init__()
        self.url = url or ""
        self.examination: Examination | None = None

    def examine(self) -> bool:
        """Ask the server everything, in the background."""
        return self.begin("examining the server", self._examine)

    def _examine(self) -> None:
        self.examination = None
        try:
            url = self.url.strip() or default_url()
        except NoServerError:
            raise no_server() from None
        self.examination = examine(url, os.environ.get("RERANK_API_KEY"))
