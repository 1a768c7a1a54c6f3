"""LangChain through the kit's own compressor: langchain-cohere sends a null that vLLM refuses."""

import asyncio

from common import BASE, DOCUMENTS, INSTRUCTION, KEY, QUERY, TOP_N, attempt
from langchain_core.documents import Document

from rerank_kit.integrations.langchain import RerankKitCompressor

documents = [Document(text, metadata={"place": place}) for place, text in enumerate(DOCUMENTS)]


def compressor(**fields: object) -> RerankKitCompressor:
    return RerankKitCompressor(url=BASE, api_key=KEY, top_n=TOP_N, **fields)


def pairs(found: list) -> list[tuple]:
    return [(one.metadata["place"], one.metadata["relevance_score"]) for one in found]


attempt("langchain-core", "RerankKitCompressor",
        lambda: pairs(compressor().compress_documents(documents, QUERY)))  # fmt: skip
attempt("langchain-core", "the same, async",
        lambda: pairs(asyncio.run(compressor().acompress_documents(documents, QUERY))))  # fmt: skip
attempt(
    "langchain-core", "the same, with an instruction",
    lambda: pairs(compressor(instruction=INSTRUCTION).compress_documents(documents, QUERY)),
    INSTRUCTION,
)  # fmt: skip
attempt("langchain-core", "the same, nothing to rank",
        lambda: pairs(compressor().compress_documents([], QUERY)), top_n=0)  # fmt: skip
assert "relevance_score" not in documents[0].metadata, "the caller's documents were changed"
assert KEY == "EMPTY" or KEY not in repr(compressor()), "the key is shown"
