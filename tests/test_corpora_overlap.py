"""No text or template of the corpora was learnt by the practice model.

Texts are compared as sequences of units: an English word or a number is one, a Chinese character
is one; case, spaces and punctuation do not count.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

import rerank_kit

REPOSITORY = Path(__file__).resolve().parents[1]
CORPORA = Path(rerank_kit.__file__).parent / "search" / "corpora"
THIRD_PARTY = REPOSITORY / ".work" / "practice_model" / "third_party.json"
sys.path.insert(0, str(REPOSITORY / "scripts"))

from practice_model import texts  # noqa: E402

#: No run of this many units is shared with a training text. Everyday phrases reach eight
#: ("lasts a month on one charge" in Chinese); a copied sentence is longer.
LONGEST_SHARED_RUN = 9
#: A template filled with other words keeps its glue. So much of a text's triples of units may be
#: found in ONE training text; the highest when this was written: 0.14 and 0.43. A query has only
#: a handful of triples.
DOCUMENT_SHARE, QUERY_SHARE = 0.20, 0.50


def units(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[\u3400-\u9fff]", text.lower())


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    row = units(text)
    return {tuple(row[i : i + length]) for i in range(len(row) - length + 1)}


def training_texts(archives: Path | None) -> list[str]:
    """What is learnt from, and what the model is selected and measured with."""
    data = texts.load_texts(archives)
    held_out = data.validation_concepts + data.test_concepts
    return texts.training_sentences(data) + [text for one in held_out for text in one.texts()]


def corpus_texts() -> tuple[dict[str, str], dict[str, str]]:
    documents, queries = {}, {}
    for path in sorted(CORPORA.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            into = documents if path.name == "corpus.jsonl" else queries
            name = row.get("_id") or f"{row['query-id']} reworded"
            into[f"{path.parent.name}/{name}"] = row.get("title", "") + "\n" + row["text"]
    return documents, queries


def shares(trained: list[str], own: dict[str, str]) -> dict[str, float]:
    """For each text, the largest part of its triples that one training text holds."""
    where: dict[tuple[str, ...], list[int]] = {}
    for place, text in enumerate(trained):
        for triple in runs(text, 3):
            where.setdefault(triple, []).append(place)
    found = {}
    for name, text in own.items():
        triples = runs(text, 3)
        hits = Counter(place for triple in triples for place in where.get(triple, ()))
        found[name] = max(hits.values(), default=0) / max(len(triples), 4)
    return found


def check(trained: list[str]) -> None:
    documents, queries = corpus_texts()
    learnt = {run for text in trained for run in runs(text, LONGEST_SHARED_RUN)}
    for name, text in (documents | queries).items():
        assert not runs(text, LONGEST_SHARED_RUN) & learnt, f"{name} shares a sentence"
    equal = {" ".join(units(text)) for text in trained}
    assert not [name for name, text in queries.items() if " ".join(units(text)) in equal]
    close = {n: s for n, s in shares(trained, documents).items() if s > DOCUMENT_SHARE}
    close |= {n: s for n, s in shares(trained, queries).items() if s > QUERY_SHARE}
    assert not close


def test_nothing_is_shared_with_the_training_texts():
    check(training_texts(None))


@pytest.mark.skipif(not THIRD_PARTY.exists(), reason="the training archives were not fetched here")
def test_nothing_is_shared_with_the_archives_either():
    check(training_texts(THIRD_PARTY))


def test_a_filled_template_and_a_copied_sentence_would_be_found():
    """The check on a text which is guilty: a training passage with three words exchanged."""
    passage = max((one.en_passage for one in texts.read_concepts()), key=len)
    words = passage.split()
    words[3], words[9], words[-2] = "quokka", "zeppelin", "marzipan"
    (share,) = shares([passage], {"guilty": " ".join(words)}).values()
    assert share > DOCUMENT_SHARE
    assert runs("New. " + passage, LONGEST_SHARED_RUN) & runs(passage, LONGEST_SHARED_RUN)
