"""The settings of a call, checked, and its progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rerank_kit.client.jobs import Settings
from rerank_kit.client.long_documents import LongDocuments, policy_of
from rerank_kit.client.texts import finite_number, shown, whole_number
from rerank_kit.errors import InputError


class RankOptions:
    """The arguments that rank() and rank_many() share, checked."""

    def __init__(
        self,
        instruction: str | None,
        top_n: int | None,
        threshold: float | None,
        return_documents: bool,
        raw_scores: bool,
        max_tokens_per_doc: int | None,
        long_documents: LongDocuments | str,
        max_chunks_per_doc: int | None,
        progress: bool | None,
    ) -> None:
        self.instruction = instruction
        self.top_n = whole_number("top_n", top_n)
        self.threshold = finite_number("threshold", threshold)
        self.return_documents = flag("return_documents", return_documents)
        self.raw_scores = flag("raw_scores", raw_scores)
        self.max_tokens_per_doc = whole_number("max_tokens_per_doc", max_tokens_per_doc)
        self.long = policy_of(long_documents, max_chunks_per_doc)
        self.progress = progress

    def settings(self) -> Settings:
        return Settings(self.long, self.max_tokens_per_doc, self.raw_scores)


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, not {shown(value)}")
    return value


@contextmanager
def progress_bar(show: bool) -> Iterator[Callable[[int, int], object]]:
    """A function to call with (how many more are done, how many there are)."""
    if not show:
        yield lambda done, total: None
        return
    from tqdm.auto import tqdm

    with tqdm(desc="scoring", unit="pair") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        yield advance
