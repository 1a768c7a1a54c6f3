"""A LangChain document compressor. langchain-cohere 0.6 sends a null that vLLM answers with 400,
and JinaRerank has no address to set: it would send your documents to a company."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import PrivateAttr, SecretStr

from rerank_kit.client import Reranker


class RerankKitCompressor(BaseDocumentCompressor):
    """Reorders documents by relevance score, for ContextualCompressionRetriever and alike.

    url: None takes RERANK_URL, else the server that rerank_kit runs here. api_key: None takes
    RERANK_API_KEY. threshold: leave out documents that score below it. The score is in
    metadata["relevance_score"] of the returned copies. Raises rerank_kit's RequestErrors.
    """

    url: str | None = None
    api_key: SecretStr | None = None
    top_n: int | None = None
    instruction: str | None = None
    threshold: float = 0.0
    _reranker: Reranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        key = self.api_key.get_secret_value() if self.api_key else None
        self._reranker = Reranker(self.url, api_key=key)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> list[Document]:
        texts = [document.page_content for document in documents]
        ranking = self._reranker.rank(
            query, texts, instruction=self.instruction, top_n=self.top_n, progress=False
        )
        kept = []
        for one in ranking:
            if one.score >= self.threshold:
                original = documents[one.index]
                metadata = {**original.metadata, "relevance_score": one.score}
                kept.append(original.model_copy(update={"metadata": metadata}))
        return kept
