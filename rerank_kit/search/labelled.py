"""Labelled queries: texts, queries, and which text answers which query (BEIR files)."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rerank_kit.client.documents import read_text
from rerank_kit.errors import FileInputError, InputError
from rerank_kit.search.documents import Document

CORPORA = Path(__file__).parent / "corpora"
#: The corpora that travel with the package, largest first.
SHIPPED = ("technical", "shop", "courses", "support", "design")


@dataclass(frozen=True)
class Query:
    """One labelled query. grades: document id -> 0 no, 1 in part, 2 (or more) yes."""

    id: str
    text: str
    grades: dict[str, int]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Labelled:
    """Documents and labelled queries. notes: what was left out while reading, and why."""

    name: str
    documents: tuple[Document, ...]
    queries: tuple[Query, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"Labelled({self.name!r}: {len(self.documents):,} documents, "
            f"{len(self.queries):,} queries)"
        )

    def graded_by(self, grades: dict[str, dict[str, int]]) -> Labelled:
        """The same documents and queries with another judge's grades (read_qrels). Queries for
        which that judge found nothing useful are left out and noted."""
        kept = tuple(
            replace(one, grades=grades[one.id]) for one in self.queries
            if max(grades.get(one.id, {}).values(), default=0) > 0
        )  # fmt: skip
        if not kept:
            raise InputError(
                f"The other labels have no positive one for a query of {self.name}.",
                hint="do the ids of the queries agree?",
            )
        missing = len(self.queries) - len(kept)
        notes = (f"{missing} queries without a positive label were left out",) if missing else ()
        return replace(self, queries=kept, notes=notes)

    def only(self, **metadata: str) -> Labelled:
        """The same documents with the queries that carry these marks: only(languages="cross")."""
        kept = tuple(
            query for query in self.queries
            if all(query.metadata.get(key) == value for key, value in metadata.items())
        )  # fmt: skip
        if not kept:
            raise InputError(f"{self.name} has no query with {metadata}.")
        marks = ", ".join(f"{key} {value}" for key, value in metadata.items())
        return Labelled(f"{self.name} ({marks})", self.documents, kept, self.notes)


def shipped(name: str = "technical") -> Labelled:
    """One of the corpora of this package; its card lies beside it (search/corpora/NAME)."""
    if name not in SHIPPED:
        raise InputError(f"There is no corpus {name!r}.", hint=f"one of {', '.join(SHIPPED)}")
    folder = CORPORA / name
    return read_labelled(
        folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "test.tsv", name
    )


def second_labels(name: str) -> Path:
    """The file with the second pass of labels of a corpus of this package, made blind."""
    return CORPORA / name / "qrels" / "second_pass.tsv"


def read_labelled(
    corpus: str | Path, queries: str | Path, qrels: str | Path, name: str = ""
) -> Labelled:
    """Read BEIR files: corpus and queries as JSON lines with _id, text (and title), qrels as
    tab-separated query-id, corpus-id, score with a header. A query without a single positive
    label, or whose answers are not in the corpus, is left out and noted.
    Raises FileInputError."""
    documents = {
        row["_id"]: Document(row["_id"], str(row.get("text") or ""), str(row.get("title") or ""))
        for row in _json_lines(str(corpus))
    }
    grades = read_qrels(str(qrels))
    kept, unlabelled, unanswered = [], 0, 0
    for row in _json_lines(str(queries)):
        own = grades.get(row["_id"], {})
        answers = [document for document, grade in own.items() if grade > 0]
        if not answers:
            unlabelled += 1
        elif not any(document in documents for document in answers):
            unanswered += 1
        else:
            kept.append(Query(row["_id"], str(row.get("text") or ""), own, _metadata(row)))
    notes = []
    if unlabelled:
        notes.append(f"{unlabelled} queries without a positive label were left out")
    if unanswered:
        notes.append(f"{unanswered} queries were left out: their answers are not in the corpus")
    if not kept:
        raise FileInputError(
            f"No query of {queries} has a label in {qrels} that points into {corpus}.",
            evidence=f"{len(documents):,} documents, {len(grades):,} labelled query ids",
            hint="do the ids in the three files agree?",
        )
    return Labelled(name or Path(corpus).parent.name, tuple(documents.values()), tuple(kept),
                    tuple(notes))  # fmt: skip


def _metadata(row: dict[str, Any]) -> dict[str, Any]:
    value = row.get("metadata")
    return value if isinstance(value, dict) else {}


def _json_lines(path: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            row["_id"] = str(row["_id"])
        except (ValueError, KeyError, TypeError):
            raise FileInputError(
                f'Line {number} of {path} is not a JSON object with "_id".',
                hint='BEIR format: {"_id": "7", "title": "...", "text": "..."}',
            ) from None
        rows.append(row)
    if not rows:
        raise FileInputError(f"{path} is empty.", hint="one JSON object a line")
    return rows


def read_qrels(path: str) -> dict[str, dict[str, int]]:
    """{query id: {document id: grade}} of a BEIR or TREC file. Raises FileInputError."""
    grades: dict[str, dict[str, int]] = {}
    rows = csv.reader(read_text(path).split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        # BEIR has three columns and a header; TREC has four (query, 0, document, grade) and none.
        cells = [row[0], row[2], row[3]] if len(row) == 4 else row
        try:
            query, document, grade = cells
            grades.setdefault(query, {})[document] = max(0, int(float(grade)))
        except ValueError:
            if number == 1:
                continue  # the header
            raise FileInputError(
                f"Line {number} of {path} is not query-id, corpus-id, score.",
                evidence="\t".join(row)[:80], hint="three columns parted by tabs",
            ) from None
    return grades
