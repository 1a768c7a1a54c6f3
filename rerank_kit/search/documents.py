"""One's own material as documents: a folder of text, Markdown, HTML, PDF, CSV and JSON lines.

Long files become several documents (a chapter, a page, a stretch of paragraphs), because one
score for a whole book says nothing. The second time only files that changed are read again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerank_kit.errors import FileInputError, RerankKitError
from rerank_kit.registry import read_json_object, state_dir, write_json

#: Folders that nobody means when they say "my texts".
LEFT_OUT_FOLDERS = {"node_modules", "__pycache__", "venv", "site-packages"}
#: A larger file is left out with a note: a log or a dump, hardly a text to be searched.
LARGEST_FILE_BYTES = 64 * 2**20
#: Raise it when the same file would be read into other documents than before.
CACHE_VERSION = 1


@dataclass(frozen=True)
class Document:
    """One thing that can be found. source: the file it comes from."""

    id: str
    text: str
    title: str = ""
    source: str = ""

    @property
    def whole(self) -> str:
        """What is searched and what the reranker reads: the title and the text."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True)
class Library:
    """The documents of a folder. read and kept: files read now, and files unchanged since the
    last time. notes: files that were left out, and why."""

    folder: str
    documents: tuple[Document, ...]
    read: int
    kept: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"Library({len(self.documents):,} documents from {self.read + self.kept:,} files, "
            f"{self.read:,} of them read now)"
        )


def read_folder(
    folder: str | Path, columns: Sequence[str] | None = None, *, cache: bool = True
) -> Library:
    """Every file below folder that holds text, as documents.

    columns: which columns of CSV and JSON-lines files are put together, in this order, and in
    this spelling; None takes title, name, tags, description, text and the like. cache: remember
    what was read (in the state folder, readable by you only; nothing is written to your folder).
    Raises FileInputError when the folder is missing or holds nothing that can be read.
    """
    from rerank_kit.search import formats

    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileInputError(
            f"{root} is not a folder.", hint="name the folder that holds your texts"
        )
    store = _cache_file(root, columns)
    known = read_json_object(store) if cache else {}
    now: dict[str, Any] = {}
    documents: list[Document] = []
    notes: list[str] = []
    read = kept = 0
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        reader = formats.reader_for(path)
        if reader is None:
            continue
        try:
            state = path.stat()
            stamp = [state.st_size, state.st_mtime_ns]
            if known.get(name, {}).get("stamp") == stamp:
                now[name], kept = known[name], kept + 1
            else:
                now[name] = {"stamp": stamp, **_read(reader, path, name, columns, state.st_size)}
                read += 1
        except (OSError, RerankKitError) as error:
            notes.append(f"{name} was left out: {_first_line(error)}")
            continue
        notes += now[name]["notes"]
        documents += [Document(**row) for row in now[name]["documents"]]
    if not documents:
        raise FileInputError(
            f"Nothing that can be searched lies in {root}.",
            evidence="; ".join(notes[:3]),
            hint=f"kinds of files that are read: {', '.join(formats.SUFFIXES)}",
        )
    if cache and (read or set(known) != set(now)):
        write_json(store, now)
    return Library(str(root), tuple(documents), read, kept, tuple(notes))


def _read(
    reader: Callable[..., list[tuple[str, str]]], path: Path, name: str,
    columns: Sequence[str] | None, size: int,
) -> dict[str, Any]:  # fmt: skip
    if size > LARGEST_FILE_BYTES:
        raise FileInputError(f"it is larger than {LARGEST_FILE_BYTES // 2**20} MiB")
    parts = [(title, text) for title, text in reader(path, columns) if (title + text).strip()]
    notes = [] if parts else [f"{name} holds no text (a scanned PDF has only pictures of it)"]
    documents = [
        asdict(Document(name if len(parts) == 1 else f"{name}#{at}", text, title, name))
        for at, (title, text) in enumerate(parts, start=1)
    ]
    return {"documents": documents, "notes": notes}


def _files(root: Path) -> list[Path]:
    """Every file below root in the order of its name; hidden ones and links to folders are left
    out (a link could lead in a circle)."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in LEFT_OUT_FOLDERS
        )
        found += [Path(folder, name) for name in sorted(files) if not name.startswith(".")]
    return found


def _cache_file(root: Path, columns: Sequence[str] | None) -> Path:
    key = "\n".join([str(root.resolve()), str(CACHE_VERSION), *(columns or ["(default)"])])
    return state_dir() / "search" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def _first_line(error: Exception) -> str:
    if isinstance(error, RerankKitError):
        return error.message
    return str(error).splitlines()[0] if str(error) else type(error).__name__
