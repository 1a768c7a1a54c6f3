"""Instruction templates, the user's own, and whether an instruction helps."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from rerank_kit import Reranker, errors
from rerank_kit.client import instructions, scores
from rerank_kit.client.instructions import (
    bootstrap_interval,
    forget_template,
    glued_prefix,
    group_pairs,
    measure_instruction,
    save_template,
    template,
    templates,
)
from rerank_kit.prompt import DEFAULT_INSTRUCTION
from rerank_kit.samples import SAMPLES

PAIRS = [
    (sample.query, text, int(place == sample.best))
    for sample in SAMPLES
    for place, text in enumerate(sample.documents)
]


@pytest.mark.parametrize("module", [instructions, scores])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_the_templates_cover_what_people_ask_for() -> None:
    found = templates()
    assert set(found) >= {
        "legal", "technical", "newest_first", "authority", "code_only", "beginner",
        "difficulty_advanced", "no_hedging", "academic", "prefer_chinese", "prefer_english",
        "e_commerce", "support",
    }  # fmt: skip
    assert found["web_search"].text == DEFAULT_INSTRUCTION
    for one in found.values():
        assert one.text.isascii() and one.text.startswith("Given") and not one.yours
        assert any("\u4e00" <= char <= "\u9fff" for char in one.zh)


def test_your_own_are_kept_beside_them(own_state: Path) -> None:
    made = save_template("my_shop", "Given a need, retrieve products in stock", "我的店")
    assert template("my_shop") == made and made.yours and made.zh == "我的店"
    save_template("my_shop", "Given a need, retrieve cheap products")
    assert template("my_shop").text.endswith("cheap products")
    forget_template("my_shop")
    assert "my_shop" not in templates()


@pytest.mark.parametrize(
    ("name", "text"),
    [("legal", "x"), ("Bad Name", "x"), ("", "x"), ("../up", "x"), ("ok", " "), ("ok", 5),
     ("ok", "half \ud83d"), (None, "x")],
)  # fmt: skip
def test_templates_that_cannot_be_saved(own_state: Path, name: object, text: object) -> None:
    with pytest.raises(errors.InputError):
        save_template(name, text)  # type: ignore[arg-type]
    assert not any(one.yours for one in templates().values())


def test_unknown_templates_are_named(own_state: Path) -> None:
    with pytest.raises(errors.InputError, match="no instruction 'poems'"):
        template("poems")
    with pytest.raises(errors.InputError):
        forget_template("legal")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Instruct: Given a query, find laws\nQuery: theft", "Instruct:"),
        ("<Instruct>: find laws", "<Instruct>:"), ("query: red shoes", "query:"),
        ("查询：红色的鞋", "查询："), ("指令: 找法律", "指令:"),
        ("how to instruct a class", None), ("query optimizer", None), ("", None),
    ],
)  # fmt: skip
def test_glued_prefixes_are_seen(query: str, found: str | None) -> None:
    assert glued_prefix(query) == found


def test_a_ranking_warns_of_a_glued_prefix(reranker: Reranker) -> None:
    """What follows "Instruct:" in a query is read as words of the query: it moves the score, and
    not to that of the real instruction."""
    wording = "Find poems about the sea"
    glued = reranker.rank(f"Instruct: {wording}\nQuery: cactus", ["Water a cactus."])
    assert "read" in glued.notes[0] and "instruction=" in glued.notes[0]
    real = reranker.rank("cactus", ["Water a cactus."], wording)
    assert real.notes == () and glued.scores != real.scores


def test_the_effect_of_an_instruction_is_measured(reranker: Reranker) -> None:
    same = measure_instruction(reranker, PAIRS, DEFAULT_INSTRUCTION)
    assert same.difference == same.low == same.high == 0
    assert same.verdict == "no difference shown" and same.queries == len(SAMPLES)
    assert same.without == 1.0  # the samples rank as a person would
    other = measure_instruction(reranker, PAIRS, "Find poems about the sea")
    assert other.low <= other.difference <= other.high <= 0
    assert "3 queries" in str(other)


def test_the_interval_is_that_of_the_mean_difference() -> None:
    """Against the textbook: for 400 values of spread 1 the 95% interval is about +-0.098."""
    import random

    rng = random.Random(7)
    values = [rng.gauss(0.5, 1) for _ in range(400)]
    mean = sum(values) / 400
    low, high = bootstrap_interval(values)
    assert mean - low == pytest.approx(0.098, abs=0.02)
    assert high - mean == pytest.approx(0.098, abs=0.02)
    assert bootstrap_interval(values) == (low, high)


def test_queries_with_one_kind_of_label_cannot_tell(reranker: Reranker) -> None:
    assert [one.query for one in group_pairs([("a", "x", 1), ("b", "x", 1), ("b", "y", 0)])] == [
        "b"
    ]
    with pytest.raises(errors.InputError, match="No query has"):
        measure_instruction(reranker, [("a", "x", 1)], "Given")


@pytest.mark.parametrize("row", [("a", "b"), "abc", ("a", "b", 2), ("a", "b", "yes"), 7])
def test_bad_labels(row: object) -> None:
    with pytest.raises(errors.InputError, match="pair 0"):
        group_pairs([row])  # type: ignore[list-item]
