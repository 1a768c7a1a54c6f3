"""The Search and Judge panels without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from panel_hands import press

from rerank_kit import Reranker, panels
from rerank_kit.panels.logic.searching import SearchModel

pytest.importorskip("ipywidgets")


def test_recall_and_rerank_side_by_side(reranker: Reranker) -> None:
    panel: Any = panels.search(reranker)
    press(panel, panel.read)
    assert len(panel.sample.options) > 5 and panel.query.value
    panel.depth.value = 10
    press(panel, panel.search)
    model = panel.model
    assert [one.recall_rank for one in model.recalled] == [1, 2, 3, 4, 5]
    scores = [one.score for one in model.reranked]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    shown = panel.result.value
    assert shown.index("recall)") < shown.index("What the reranker makes of it")
    assert "reranking 10 candidates" in shown


def test_one_s_own_folder_and_recall_without_a_server(own_state: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("退款需要三天", encoding="utf-8")
    (tmp_path / "b.md").write_text("# 发货\n\n包裹当天发出", encoding="utf-8")
    model = SearchModel(folder=str(tmp_path))
    model.query = "退款"
    model.search()
    model.join()
    assert [one.document.id for one in model.recalled] == ["a.txt"] and model.reranked == []
    assert model.problem is not None and "No server" in model.problem.sentence
    model.folder = str(tmp_path / "missing")
    model.search()
    model.join()
    assert model.problem is not None and "is not a folder" in model.problem.sentence


def test_judging_to_the_verdict_and_going_on(
    reranker: Reranker, own_state: Path, tmp_path: Path
) -> None:
    panel: Any = panels.judge(reranker, str(_little_library(tmp_path)))
    panel.count.value = 2
    press(panel, panel.propose)
    assert "Real questions are better" in panel.about.value
    panel.queries.value = "退款 三天\n包裹 发货"
    press(panel, panel.prepare)
    assert panel.model.item is not None and "Result 1 of" in panel.item.value
    assert "BM25" not in panel.item.value  # blind
    panel.grades[4].click()
    panel.undo.click()
    assert panel.model.session.done == 0
    panel.grades[4].click()
    again: Any = panels.judge(reranker, str(tmp_path))
    again.queries.value = panel.queries.value
    press(again, again.prepare)
    assert again.model.session.done == 1  # the interrupted session goes on
    other: Any = panels.judge(reranker, str(tmp_path))
    other.queries.value, other.who.value = panel.queries.value, "Li"
    press(other, other.prepare)
    assert other.model.session.done == 0  # another person's grades are another session
    while again.model.item is not None:
        again.grades[2].click()
    assert again.model.verdict is not None and "What to try next" in again.verdict.value
    assert "verdict.html" in again.verdict.value and again.grading.layout.display == "none"


def _little_library(folder: Path) -> Path:
    for number, text in enumerate((
        "退款需要三天才能到账，请耐心等待银行处理", "包裹当天发货，偏远地区需要一周时间送达",
        "发货之前可以随时申请退款，不收手续费",
    )):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder
