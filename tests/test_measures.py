"""Measures of a ranking, labelled files, and when a difference is more than chance."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from beir_files import DOCUMENTS, write_beir

from rerank_kit.errors import FileInputError
from rerank_kit.search import (
    Bm25,
    Document,
    Labelled,
    read_labelled,
    shipped,
)
from rerank_kit.search.labelled import SHIPPED, Query
from rerank_kit.search.measures import FEWEST_QUERIES, difference, measure


def labelled_of(count: int) -> Labelled:
    documents = tuple(Document(f"d{n}", f"text {n}") for n in range(10))
    queries = tuple(Query(f"q{n}", f"query {n}", {f"d{n % 10}": 2}) for n in range(count))
    return Labelled("made up", documents, queries)


def test_measures_agree_with_a_ranking_worked_by_hand() -> None:
    labelled = Labelled("x", tuple(DOCUMENTS), (Query("q", "?", {"cake": 2, "redis": 1}),))
    values = measure(labelled, {"q": ["cactus", "redis", "cake"]})["q"]
    best = 2 / math.log2(2) + 1 / math.log2(3)
    assert values["nDCG@10"] == pytest.approx((1 / math.log2(3) + 2 / math.log2(4)) / best)
    assert (values["hit@1"], values["MRR@10"], values["recall@10"]) == (0.0, 0.5, 1.0)
    strict = measure(labelled, {"q": ["cactus", "redis", "cake"]}, relevant_from=2)["q"]
    assert strict["MRR@10"] == pytest.approx(1 / 3)
    assert strict["nDCG@10"] == values["nDCG@10"]


def test_ties_and_ids_do_not_move_a_result() -> None:
    """trec_eval breaks ties by document id, last first, and compares scores in float32."""
    for first, second in (("a", "b"), ("b", "a")):
        labelled = Labelled("x", (Document("a", ""), Document("b", "")),
                            (Query("q", "?", {first: 1}),))  # fmt: skip
        assert measure(labelled, {"q": [first, second]})["q"]["hit@1"] == 1.0
        assert measure(labelled, {"q": [second, first]})["q"]["hit@1"] == 0.0


def test_a_query_that_found_nothing_counts_as_zero() -> None:
    values = measure(labelled_of(2), {"q0": ["d0"], "q1": []})
    assert values["q0"]["nDCG@10"] == 1.0
    assert set(values["q1"].values()) == {0.0}


def test_an_answer_at_rank_eleven_is_not_on_the_first_page() -> None:
    labelled = Labelled("x", (), (Query("q", "?", {"late": 1}),))
    values = measure(labelled, {"q": [*(f"d{n}" for n in range(10)), "late"]})["q"]
    assert values["MRR@10"] == values["recall@10"] == 0.0 and values["recall"] == 1.0


def test_a_real_difference_is_told_from_chance() -> None:
    chance = random.Random(5)
    before = [chance.random() for _ in range(60)]
    noise = [chance.gauss(0, 0.2) for _ in before]
    same = difference(before, [a + b for a, b in zip(before, noise, strict=True)])
    gain = difference(before, [a + b + 0.15 for a, b in zip(before, noise, strict=True)])
    assert same.verdict == "no difference shown" and "missed" in same.sentence("x")
    assert gain.verdict == "better" and gain.low > 0 and gain.p_value < 0.05
    assert difference(before, before).p_value == 1.0
    worse = difference([a + 0.3 for a in before], before)
    assert worse.verdict == "worse" and worse.p_value < 0.001


def test_a_handful_of_queries_gets_no_verdict() -> None:
    few = difference([0.0] * (FEWEST_QUERIES - 1), [1.0] * (FEWEST_QUERIES - 1))
    assert few.verdict == "too few queries" and "at least" in few.sentence("hit@1")
    assert difference([0.5], [0.7]).verdict == "too few queries"


def test_chance_alone_is_called_a_difference_as_rarely_as_promised() -> None:
    """Thirty comparisons without any difference: about one in twenty may look like one."""
    chance = random.Random(11)
    false_alarms = 0
    for _ in range(30):
        one = [chance.random() for _ in range(25)]
        other = [chance.random() for _ in range(25)]
        false_alarms += difference(one, other).verdict in ("better", "worse")
    assert false_alarms <= 6


def test_beir_and_trec_labels_are_read_and_slips_are_named(tmp_path: Path) -> None:
    write_beir(tmp_path)
    files = [tmp_path / "corpus.jsonl", tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"]
    assert [q.grades for q in read_labelled(*files).queries][1] == {"redis": 2}
    files[2].write_text("1 0 cactus 1\n2 0 redis 0\n3 0 gone 1\n".replace(" ", "\t"))
    read = read_labelled(*files)
    assert [query.id for query in read.queries] == ["1"]
    assert len(read.notes) == 2 and "not in the corpus" in read.notes[1]
    files[2].write_text("query-id\tcorpus-id\tscore\n1\tcactus\tgood\n")
    with pytest.raises(FileInputError, match="Line 2"):
        read_labelled(*files)
    write_beir(tmp_path)
    files[1].write_text('{"text": "no id"}\n')
    with pytest.raises(FileInputError, match="_id"):
        read_labelled(*files)


def test_a_line_separator_inside_a_text_does_not_break_the_file(tmp_path: Path) -> None:
    """U+2028 is legal inside JSON; splitlines() would cut the line in two there."""
    write_beir(tmp_path)
    path = tmp_path / "corpus.jsonl"
    text = path.read_text(encoding="utf-8").replace("Bake the", "Bake\u2028the")
    path.write_text(text, encoding="utf-8")
    read = read_labelled(path, tmp_path / "queries.jsonl", tmp_path / "qrels.tsv")
    assert any("\u2028" in document.text for document in read.documents)


@pytest.mark.parametrize("name", SHIPPED)
def test_recall_alone_finds_answers_in_their_own_language_only(name: str) -> None:
    labelled = shipped(name)
    recall = Bm25(labelled.documents)

    def found(languages: str) -> float:
        queries = labelled.only(languages=languages).queries
        lists = {q.id: [labelled.documents[n].id for n in recall.find(q.text, 50)] for q in queries}
        values = measure(labelled.only(languages=languages), lists)
        return sum(row["nDCG@10"] for row in values.values()) / len(values)

    assert found("same") > 0.6 > 0.3 > found("cross")
