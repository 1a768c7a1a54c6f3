"""The Rank panel without a browser."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from panel_hands import press

from rerank_kit import Reranker, panels, prompt
from rerank_kit.panels.logic.ranking import OWN, PARAGRAPHS, RankModel

pytest.importorskip("ipywidgets")


def test_ranking_pasted_chinese_texts(rank: Any, reranker: Reranker) -> None:
    rank.query.value = "数据库连接超时怎么办"
    rank.text.value = "红烧肉的做法：先把五花肉焯水\n如果数据库连接超时，请检查连接池配置和网络延迟"
    press(rank, rank.rank)
    expected = reranker.rank(rank.query.value, rank.text.value.splitlines())
    rows = rank.model.shown.rows()
    assert [row.score for row in rows] == pytest.approx(expected.scores, abs=1e-5)
    assert [row.index for row in rows] == [1, 0] and [row.moved for row in rows] == [1, -1]
    assert rank.result.value.index("连接池配置") < rank.result.value.index("红烧肉")
    assert "moved up 1" in rank.result.value and "practice model, a toy" in rank.result.value
    assert not rank.rank.disabled and rank.status.value.count("ranking") == 0


def test_the_preview_is_the_very_prompt(rank: Any) -> None:
    rank.show_prompt.value = True
    rank.query.value = "a < b"
    rank.instruction.value = OWN
    rank.own.value = "Find the rule"
    first = rank.model.documents()[0]
    assert rank.model.preview() == prompt.render("a < b", first, "Find the rule")
    assert "a &lt; b" in rank.prompt.value and "Find the rule" in rank.prompt.value


def test_every_instruction_of_the_picker_has_a_wording(rank: Any) -> None:
    for name in rank.model.instruction_names():
        rank.instruction.value = name
        assert rank.model.about_instruction() and rank.last_error is None
    assert rank.model.instruction_names()[0] == "official default"


def test_paragraphs_files_and_json_lines(reranker: Reranker) -> None:
    model = RankModel(reranker)
    model.text, model.split_by = "one\ntwo\n\nthree", PARAGRAPHS
    assert model.documents() == ["one\ntwo", "three"]
    model.file = ("mine.jsonl", '{"id": "7", "text": "北京"}\n{"text": "上海"}'.encode())
    model.rank()
    model.join()
    assert {row.id for row in model.shown.rows()} == {"7", None}
    model.file = ("mine.txt", "文本".encode("gb18030"))
    model.rank()
    model.join()
    assert model.problem is not None and "mine.txt is not UTF-8" in model.problem.sentence


def test_top_n_threshold_and_history(rank: Any) -> None:
    press(rank, rank.rank)
    rank.top_n.value = 2
    press(rank, rank.rank)
    assert len(rank.model.shown.rows()) == 2 and "5 documents, 2 shown" in rank.result.value
    rank.top_n.value, rank.threshold.value = 0, 1.0
    press(rank, rank.rank)
    assert rank.model.shown.rows() == [] and "Nothing is left" in rank.result.value
    assert [len(one.rows()) for one in rank.model.history] == [0, 2, 5]
    rank.history.value = 2
    assert len(rank.model.shown.rows()) == 5 and "<tbody>" in rank.result.value


def test_the_order_is_compared_with_what_one_chooses(rank: Any, reranker: Reranker) -> None:
    rank.query.value = "redis timeout"
    rank.text.value = "tea\nraise the redis timeout\nredis is a store\ntimeout of redis"
    rank.compare.value = "a search by words (BM25)"
    press(rank, rank.rank)
    shown = rank.model.shown
    assert shown.before[-1] == 0 and sorted(shown.before) == [0, 1, 2, 3]
    assert all(shown.before[row.rank - 1 + row.moved] == row.index for row in shown.rows())
    rank.compare.value = "the official default instruction"
    rank.instruction.value = OWN
    rank.own.value = "Find tea"
    press(rank, rank.rank)
    plain = reranker.rank(rank.query.value, rank.text.value.splitlines())
    before = {one.index: one.score for one in plain}
    shown_before = {row.index: row.score_before for row in rank.model.shown.rows()}
    assert shown_before == pytest.approx(before, abs=1e-5)
    assert ">before<" in rank.result.value and "official default instruction" in rank.result.value


def test_what_is_saved_can_be_read_again(rank: Any) -> None:
    rank.text.value = '=SUM(A1)\n他说："好，不错"\n新鲜草莓'
    press(rank, rank.rank)
    text = rank.model.shown.as_csv()
    assert text.startswith("\ufeff")  # or a spreadsheet shows Chinese as rubbish
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert {row["text"] for row in rows} == {"'=SUM(A1)", '他说："好，不错"', "新鲜草莓"}
    saved = json.loads(rank.model.shown.as_json())
    assert saved["model"] == "practice" and len(saved["results"]) == 3
    assert rank.result.value.count("download=") == 2


def test_many_queries_against_the_same_documents(rank: Any, reranker: Reranker) -> None:
    """The very rankings of rank_many, a table for each query, and one file of all."""
    rank.batch.many.value = True
    assert rank.query.layout.display == "none" and rank.batch.queries.layout.display is None
    rank.batch.queries.value = "redis timeout\n\n  怎样冲咖啡\n<b>x"
    rank.text.value = "raise the redis timeout\n咖啡豆现磨\n=SUM(A1)\n草莓"
    press(rank, rank.rank)
    assert rank.model.problem is None, rank.model.problem
    batch, documents = rank.model.batch, rank.text.value.splitlines()
    asked = ["redis timeout", "怎样冲咖啡", "<b>x"]
    wanted = reranker.rank_many([(query, documents) for query in asked])
    assert [one.query for one in batch.rankings] == asked
    for found, direct in zip(batch.rankings, wanted, strict=True):
        assert found.scores == pytest.approx(direct.scores, abs=1e-4)
    shown = rank.batch.result.value
    assert shown.count("<table") == 3 and "3 queries, 4 documents each" in shown
    assert "<b>x" not in shown and "practice model, a toy" in shown
    rows = list(csv.DictReader(io.StringIO(batch.as_csv().removeprefix("\ufeff"))))
    assert len(rows) == 12 and {row["query_number"] for row in rows} == {"1", "2", "3"}
    assert "'=SUM(A1)" in {row["text"] for row in rows}
    saved = json.loads(batch.as_json())
    assert [len(one["results"]) for one in saved] == [4, 4, 4]
    assert shown.count("download=") == 2


def test_a_batch_tells_how_far_it_is_and_can_be_stopped(rank: Any) -> None:
    model, seen = rank.model, []
    rank.batch.many.value = True
    model.queries_file = ("mine.txt", "\n".join(f"question {n}" for n in range(300)).encode())
    rank.text.value = "a\nb\nc\nd"

    def look() -> None:
        if model.busy and model.wanted:
            seen.append((model.done, rank.batch.result.value))
            if model.done:
                rank.batch.stop.click()

    model.watch(look)
    press(rank, rank.rank)
    assert seen[0][0] == 0 and "of 300 queries are ranked" in seen[-1][1]
    assert 0 < len(model.batch.rankings) < 300 and model.batch.asked == 300
    assert " of 300 queries, 4 documents each" in rank.batch.result.value
    assert "more queries are in the files" in rank.batch.result.value


def test_a_batch_without_queries_is_a_sentence(rank: Any) -> None:
    rank.batch.many.value, rank.batch.queries.value = True, "  \n"
    press(rank, rank.rank)
    assert "There are no queries." in rank.status.value and rank.model.batch is None


def test_two_settings_side_by_side(rank: Any) -> None:
    press(rank, rank.rank)
    rank.instruction.value, rank.own.value = OWN, "Find fruit"
    rank.top_n.value = 3
    press(rank, rank.rank)
    rank.beside.value = 1
    shown = rank.result.value
    assert shown.count('<table aria-label="ranking"') == 2 and "rk-columns" in shown
    assert "instruction: my own words" in shown and "instruction: official default" in shown
    assert "shown: 3 at most" in shown
    places = {row.index: row.rank for row in rank.model.history[1].rows()}
    for row in rank.model.history[0].rows():
        if places[row.index] > row.rank:
            assert f"▲ {places[row.index] - row.rank}" in shown
    rank.beside.value = None
    assert rank.result.value.count("<table") == 1


def test_texts_cannot_break_out_of_the_page(rank: Any) -> None:
    rank.query.value = rank.text.value = "<script>alert(1)</script><b>x"
    rank.show_prompt.value = True
    press(rank, rank.rank)
    for shown in (rank.result.value, rank.prompt.value, rank.status.value):
        assert "<script" not in shown and "<b>x" not in shown


def test_no_server_and_no_query_are_sentences(own_state: Path) -> None:
    panel: Any = panels.rank()
    press(panel, panel.rank)
    assert "No server is running here yet." in panel.status.value
    assert "Launch panel" in panel.status.value
    panel.query.value = "  "
    assert "No server" not in panel.status.value  # it was about what stood there before
    press(panel, panel.rank)
    assert "The query is empty." in panel.status.value


def test_a_glued_prefix_is_warned_of(rank: Any) -> None:
    rank.query.value = "Instruct: find laws"
    assert "choose an instruction instead" in rank.about.value
