"""Which texts are searched: a shipped sample corpus, or the user's own folder."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_kit.errors import InputError
from rerank_kit.search.documents import Document, read_folder
from rerank_kit.search.labelled import SHIPPED, shipped

OWN_FOLDER = "my own folder"
SOURCES = (*SHIPPED, OWN_FOLDER)


@dataclass(frozen=True)
class Texts:
    """name: how the user called them. queries: sample questions, where there are some."""

    name: str
    documents: tuple[Document, ...]
    queries: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        return f"{len(self.documents):,} documents from {self.name}"


def read_texts(source: str, folder: str) -> Texts:
    """Read them. Raises FileInputError, InputError."""
    if source != OWN_FOLDER:
        corpus = shipped(source)
        queries = tuple(query.text for query in corpus.queries)
        return Texts(f"the sample corpus {source}", corpus.documents, queries, corpus.notes)
    if not folder.strip():
        raise InputError("No folder is named.", hint="the path of a folder that holds your texts")
    library = read_folder(folder.strip())
    return Texts(library.folder, library.documents, (), library.notes)
