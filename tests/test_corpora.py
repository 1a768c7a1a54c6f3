"""The shipped corpora: frozen, well formed, and not what the practice model was trained on."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

import rerank_kit

CORPORA = Path(rerank_kit.__file__).parent / "search" / "corpora"
NAMES = ("technical", "design", "shop", "courses", "support")


def read(name: str) -> tuple[dict[str, dict], dict[str, dict], dict[str, dict[str, int]]]:
    def lines(file: str) -> dict[str, dict]:
        text = (CORPORA / name / file).read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()]
        assert len({row["_id"] for row in rows}) == len(rows)
        return {row["_id"]: row for row in rows}

    qrels: dict[str, dict[str, int]] = {}
    with open(CORPORA / name / "qrels" / "test.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return lines("corpus.jsonl"), lines("queries.jsonl"), qrels


def test_no_file_changed_since_it_was_frozen():
    frozen = {}
    for line in (CORPORA / "FROZEN.sha256").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ", 1)
        frozen[name] = digest
    present = {
        path.relative_to(CORPORA).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in CORPORA.rglob("*")
        if path.suffix in (".jsonl", ".tsv", ".md")
    }
    assert present == frozen


@pytest.mark.parametrize("name", NAMES)
def test_every_query_has_an_answer_and_every_label_points_at_a_text(name):
    documents, queries, qrels = read(name)
    assert set(qrels) == set(queries)
    for labels in qrels.values():
        assert 2 in labels.values()
        assert set(labels) <= set(documents)
        assert set(labels.values()) <= {0, 1, 2}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_large_and_varied_enough(name):
    documents, queries, qrels = read(name)
    assert len(queries) >= (60 if name == "technical" else 30)
    assert len(documents) >= (130 if name == "technical" else 40)
    languages = Counter(row["metadata"]["language"] for row in documents.values())
    assert min(languages["en"], languages["zh"]) >= 0.4 * len(documents)
    kinds = {row["metadata"]["kind"] for row in queries.values()}
    assert {"plain", "ambiguous", "negation", "date", "two-passages", "hard-negative"} <= kinds
    # The mark "cross" is a fact that follows from the labels, not an opinion.
    for query_id, query in queries.items():
        answers = {
            documents[d]["metadata"]["language"] for d, grade in qrels[query_id].items()
            if grade == 2
        }
        own = query["metadata"]["language"]
        expected = "same" if answers == {own} else "cross" if own not in answers else "both"
        assert query["metadata"]["languages"] == expected, query_id
