"""The shipped corpora: frozen, well formed, and not what the practice model was trained on."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import blind_sheets
import pytest

import rerank_kit
from rerank_kit.search.agreement import agreement_of
from rerank_kit.search.labelled import read_qrels, second_labels, shipped
from rerank_kit.search.stability import shipped_rewordings

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


#: Of the lines of FROZEN.sha256 for texts, queries and first labels, as they were committed
#: before any practice model was trained: whoever changes one of them has to change this as well.
FIRST_FREEZE = "5e52b298ba0cb5041c211ec8ab27378bc7162315e1a585453f8b97e257ea9ee2"


def test_no_file_changed_since_it_was_frozen():
    lines = (CORPORA / "FROZEN.sha256").read_text(encoding="utf-8").splitlines()
    frozen = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    present = {
        path.relative_to(CORPORA).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in CORPORA.rglob("*")
        if path.suffix in (".jsonl", ".tsv")
    }
    assert present == frozen
    added = ("second_pass.tsv", "rewordings.jsonl")
    first = "\n".join(line for line in lines if not line.endswith(added))
    assert hashlib.sha256(first.encode()).hexdigest() == FIRST_FREEZE


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_how_far_the_two_judges_agree(name):
    found = agreement_of(shipped(name), read_qrels(str(second_labels(name))))
    assert (
        f"{found.same:.1%} of {found.pairs} pairs, Cohen's kappa {found.kappa:.2f} (with squared "
        f"weights {found.kappa_squared:.2f}); of {found.unjudged} pairs without a first label it "
        f"found {found.unjudged_useful} useful"
    ) in (CORPORA / name / "README.md").read_text(encoding="utf-8")
    row = f"| {found.same:.1%} of {found.pairs} | {found.kappa:.2f} | {found.kappa_squared:.2f} |"
    assert row in (CORPORA / "README.md").read_text(encoding="utf-8")


def test_the_cards_say_that_no_person_judged():
    card = (CORPORA / "README.md").read_text(encoding="utf-8")
    assert "No person has judged a single pair" in card
    totals = [agreement_of(shipped(n), read_qrels(str(second_labels(n)))) for n in NAMES]
    assert f"all {sum(one.pairs for one in totals):,} labelled pairs" in card
    assert f"{sum(one.unjudged for one in totals)} that had no label" in card


@pytest.mark.parametrize("name", NAMES)
def test_the_sheets_of_the_blind_judge_can_be_written_again(name, tmp_path):
    """The same pairs as were judged; on the sheets neither a label nor the id of a file."""
    judged = read_qrels(str(second_labels(name)))
    pairs = blind_sheets.pairs_of(name)
    assert set(pairs) == {(query, one) for query, grades in judged.items() for one in grades}
    assert len(pairs) == len(set(pairs))
    blind_sheets.write(tmp_path)
    sheets = sorted(tmp_path.glob(f"sheet-{name}-*.jsonl"))
    rows = [json.loads(line) for path in sheets for line in path.read_text("utf-8").splitlines()]
    assert len(rows) == len(pairs) and len({row["pair"] for row in rows}) == len(rows)
    assert {key for row in rows for key in row} == {"pair", "query", "document"}


@pytest.mark.parametrize("name", NAMES)
def test_rewordings_ask_the_same_question_in_the_same_language(name):
    _, queries, _ = read(name)
    rewordings = shipped_rewordings(name)
    assert len(rewordings) >= 10 and set(rewordings) <= set(queries)
    languages = {queries[query]["metadata"]["language"] for query in rewordings}
    assert languages == {"en", "zh"}
    for query, texts in rewordings.items():
        for text in texts:
            assert text != queries[query]["text"]
            chinese = any("\u4e00" <= character <= "\u9fff" for character in text)
            assert chinese == (queries[query]["metadata"]["language"] == "zh"), text


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
