"""Two judges: their agreement, and whether the result depends on whose labels are taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import cli
from sklearn.metrics import cohen_kappa_score

from rerank_kit.errors import InputError
from rerank_kit.search import Bm25, Search
from rerank_kit.search.agreement import agreement, agreement_of
from rerank_kit.search.evaluate import compare, run, with_labels
from rerank_kit.search.labelled import read_qrels, second_labels, shipped

FIRST = [0, 0, 0, 1, 1, 2, 2, 2, 2, 0, 1, 2, 0, 0]
SECOND = [0, 0, 1, 1, 0, 2, 2, 1, 2, 0, 2, 2, 0, 2]


def test_kappa_is_the_one_of_a_statistics_library() -> None:
    found = agreement(FIRST, SECOND)
    assert found.same == pytest.approx(9 / 14)
    assert found.kappa == pytest.approx(cohen_kappa_score(FIRST, SECOND))
    squared = cohen_kappa_score(FIRST, SECOND, weights="quadratic")
    assert found.kappa_squared == pytest.approx(squared)
    assert agreement([1, 1], [1, 1]).kappa == 1.0
    assert agreement([0, 2, 0, 2], [0, 0, 2, 2]).kappa == pytest.approx(0.0)
    with pytest.raises(InputError, match="same pairs"):
        agreement([1], [])


def test_pairs_that_only_the_second_judge_graded_are_counted_apart() -> None:
    labelled = shipped("shop")
    query = labelled.queries[0]
    graded = {query.id: {**query.grades, "s040": 2, "s041": 0}}
    found = agreement_of(labelled, graded)
    assert (found.pairs, found.same) == (len(query.grades), 1.0)
    assert (found.unjudged, found.unjudged_useful) == (2, 1)
    with pytest.raises(InputError, match="in common"):
        agreement_of(labelled, {"another query": {"s040": 1}})


def test_the_same_rankings_with_other_labels() -> None:
    """Measured anew, not searched anew: the values are those of a run with these labels."""
    labelled = shipped("courses")
    search = Search(Bm25(labelled.documents))
    first = compare(labelled, search, against=search, depth=10, progress=False)
    other = labelled.graded_by(read_qrels(str(second_labels("courses"))))
    again = with_labels(first, other)
    fresh = run(other, search, 10)
    assert again.after.values == fresh.values and again.after.values != first.after.values
    assert again.main.mean == 0
    strict = {query.id: dict.fromkeys(query.grades, 0) for query in labelled.queries[1:]}
    strict[labelled.queries[0].id] = labelled.queries[0].grades
    left = labelled.graded_by(strict)
    assert len(left.queries) == 1 and "37 queries without a positive label" in left.notes[0]


def test_agreement_command_needs_no_server(tmp_path: Path) -> None:
    words = ("evaluate", "--corpus-name", "design", "--second-qrels", "--agreement-only")
    shown = cli(*words)
    assert shown.returncode == 0, shown.stderr
    assert "159 pairs graded twice" in shown.stdout and "Cohen's kappa" in shown.stdout
    assert json.loads(cli(*words, "--json").stdout)["kappa"] > 0.9
    own = tmp_path / "hers.tsv"
    own.write_text("query-id\tcorpus-id\tscore\nq001\td001\t2\nq001\td002\t0\n", encoding="utf-8")
    hers = cli(*words[:3], "--second-qrels", str(own), "--agreement-only", "--json")
    assert json.loads(hers.stdout)["pairs"] == 2
