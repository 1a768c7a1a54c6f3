"""The exact prompt of Qwen3-Reranker, whole and in the pieces that training groups share."""

from __future__ import annotations

DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query"
    ' and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def head(query: str, instruction: str = DEFAULT_INSTRUCTION) -> str:
    """All that the documents of one query have in common."""
    return f"{PREFIX}<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"


def tail(document: str) -> str:
    """What differs from document to document."""
    return f" {document}{SUFFIX}"


def full(query: str, document: str, instruction: str = DEFAULT_INSTRUCTION) -> str:
    """The prompt as the model sees it."""
    return head(query, instruction) + tail(document)
