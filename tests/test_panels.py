"""The panels without a browser: what they know and do, and what they put into their widgets."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rerank_kit import Reranker, memory, panels, prompt
from rerank_kit.errors import InputError
from rerank_kit.panels.logic.choice import CACHE, LENGTH, STEP
from rerank_kit.panels.logic.launching import LaunchModel
from rerank_kit.panels.logic.ranking import OWN, PARAGRAPHS, RankModel
from rerank_kit.panels.logic.searching import SearchModel
from rerank_kit.panels.logic.spending import BESIDES
from rerank_kit.panels.logic.steps import Steps
from rerank_kit.panels.logic.work import Model
from rerank_kit.server import settings_for
from rerank_kit.server.diagnosis import diagnose

ipywidgets = pytest.importorskip("ipywidgets")

MAKERS = {name: getattr(panels, name) for name in panels.__all__}
LOGS = Path(__file__).parent / "logs"
MIB = 2**20


@pytest.fixture
def rank(reranker: Reranker) -> Any:
    return panels.rank(reranker)


def press(panel: Any, button: Any) -> None:
    button.click()
    panel.model.join()


def below(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from below(child)


# --- the frame ------------------------------------------------------------------------------


def test_importing_the_panels_loads_no_widgets() -> None:
    code = "import sys, rerank_kit.panels; print('ipywidgets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_without_ipywidgets_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['ipywidgets'] = None\n"
        "from rerank_kit import panels, RerankKitError\n"
        "try: panels.rank()\n"
        "except RerankKitError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert 'pip install "rerank-kit[notebooks]"' in done.stdout, done.stderr


@pytest.mark.parametrize("name", MAKERS)
def test_a_panel_has_a_text_form_that_never_changes(name: str, own_state: Path) -> None:
    """Saved notebooks are compared with it; a reader without widgets is told what to do."""
    first, second = MAKERS[name](), MAKERS[name]()
    assert repr(first) == repr(second) and "bash scripts/webapp.sh" in repr(first)
    assert "0x" not in repr(first) and first.model.problem is None
    bundle = first._repr_mimebundle_()
    assert bundle["text/plain"] == repr(first)
    assert "application/vnd.jupyter.widget-view+json" in bundle


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "app"])
def test_everything_that_can_be_used_has_a_name(name: str, own_state: Path) -> None:
    """What a screen reader says. A slider has none: the labelled number beside it does."""
    for one in below(MAKERS[name]().widget):
        if isinstance(one, ipywidgets.IntSlider | ipywidgets.HTML | ipywidgets.Box):
            continue
        assert one.description, f"{type(one).__name__} of {name} has no label"


def test_the_style_sheet_asks_no_outside_host() -> None:
    for path in Path(panels.__file__).parent.rglob("*.css"):
        assert not re.search(r"https?:|@import|url\(", path.read_text(encoding="utf-8")), path


def test_only_one_thing_is_done_at_a_time() -> None:
    model, may_end = Model(), threading.Event()
    assert model.begin("waiting", lambda: may_end.wait(30) and None)
    assert not model.begin("another thing", lambda: None) and model.busy == "waiting"
    may_end.set()
    model.join()
    assert model.busy == "" and model.problem is None


def test_an_error_in_the_background_is_never_lost() -> None:
    """In a thread it would end up in some cell's stderr, and the panel would look busy."""
    model = Model()

    def work() -> None:
        raise InputError("It broke.", hint="mend it")

    model.begin("breaking", work)
    model.join()
    assert model.problem is not None and model.busy == ""
    assert (model.problem.sentence, model.problem.hint) == ("It broke.", "mend it")


def test_an_unknown_error_is_one_sentence_and_no_traceback(rank: Any) -> None:
    def explode(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("line one\nline two")

    rank.model.source.get = explode
    press(rank, rank.rank)
    shown = rank.status.value
    assert "rerank_kit does not know" in shown and "ZeroDivisionError: line one" in shown
    assert "Traceback" not in shown and "line two" not in shown and 'role="alert"' in shown


def test_a_watcher_that_raises_does_not_kill_the_work() -> None:
    model = Model()
    model.watch(lambda: 1 / 0)
    model.begin("working", lambda: None)
    model.join()
    assert model.busy == "" and isinstance(model.last_error, ZeroDivisionError)


# --- Rank -----------------------------------------------------------------------------------


def test_ranking_pasted_chinese_texts(rank: Any, reranker: Reranker) -> None:
    rank.query.value = "数据库连接超时怎么办"
    rank.text.value = "红烧肉的做法：先把五花肉焯水\n如果数据库连接超时，请检查连接池配置和网络延迟"
    press(rank, rank.rank)
    expected = reranker.rank(rank.query.value, rank.text.value.splitlines())
    rows = rank.model.shown.rows()
    assert [row.score for row in rows] == expected.scores
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
    assert {row.index: row.score_before for row in rank.model.shown.rows()} == before
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


# --- Launch ---------------------------------------------------------------------------------


def test_the_sliders_move_the_command_and_the_memory(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    before = panel.model.memory_bar()
    assert panel.cache.slider.value == settings_for("practice").kv_cache_memory_bytes // MIB
    panel.cache.slider.value = 1024
    after = panel.model.memory_bar()
    assert dict(after.parts)["KV cache"] == 1.0 and after.needed_gib > before.needed_gib
    assert f"--kv-cache-memory-bytes {1024 * MIB}" in panel.command.value
    assert "KV cache 1.00 GiB" in panel.memory.value and panel.cache.number.value == 1024
    panel.length.number.value = 2048
    assert panel.model.attempt.arguments == (CACHE, str(1024 * MIB), LENGTH, "2048")
    assert panel.model.settings().argv(8000)[-4:] == [CACHE, str(1024 * MIB), LENGTH, "2048"]
    for flag in (CACHE, LENGTH):  # a reader of the command must not have to know which one counts
        assert panel.command.value.count(flag) == 1, panel.command.value


def test_a_cache_too_small_is_foretold(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    panel.cache.number.value = 1
    assert "the start will fail" in panel.memory.value


def test_flags_typed_by_hand_stay_beside_the_sliders(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    panel.step.number.value = 2048
    panel.flags.value = "--max-num-seqs 32 --seed 1"
    assert panel.model.attempt.arguments == (STEP, "2048", "--max-num-seqs", "32", "--seed", "1")
    panel.step.number.value = 1024
    assert panel.model.value(STEP) == 1024 and "--max-num-seqs 32" in panel.command.value
    panel.flags.value = '--seed "1'
    assert "cannot be read" in panel.status.value and panel.model.value(STEP) == 1024
    panel.flags.value = "--api-key secret"
    assert "--api-key cannot be passed" in panel.command.value


def test_a_failure_has_a_card_and_its_fix_changes_the_settings(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    panel.cache.number.value = 8
    panel.model.diagnosis = diagnose(LOGS / "kv_cache_too_small/bytes_length.log")
    panel.model.changed()
    assert "kv_cache_too_small" in panel.card.value and 'role="alert"' in panel.card.value
    buttons = [one for one in below(panel.fixes) if isinstance(one, ipywidgets.Button)]
    assert [one.description for one in buttons][:1] == ["Apply this fix"]
    fix = next(fix for fix, can_apply in panel.model.fixes() if can_apply)
    assert fix.change.startswith(CACHE) and fix.change == buttons[0].tooltip
    buttons[0].click()
    assert panel.model.value(CACHE) == int(fix.change.split()[1])
    assert panel.cache.number.value == int(fix.change.split()[1]) // MIB
    assert panel.card.value == "" and panel.fixes.children == () and "Changed" in panel.state.value


def test_a_command_or_advice_has_no_button(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    panel.model.diagnosis = diagnose(LOGS / "disk_full/errno28.log")
    panel.model.changed()
    assert panel.model.fixes() and not any(can_apply for _, can_apply in panel.model.fixes())
    assert not any(isinstance(one, ipywidgets.Button) for one in below(panel.fixes))


def test_it_sees_the_server_that_runs_and_stops_no_stranger_s(server: Any) -> None:
    panel: Any = panels.launch("practice")
    panel.model.look()
    assert panel.model.state == "ready" and "Ready:" in panel.state.value
    panel.price.value = 1000.0
    panel.model.look()
    assert "so far" in panel.state.value
    panel.show_log.value = True
    assert "INFO" in panel.log.value and "<pre>" in panel.log.value
    panel.model.server = None
    panel.model.record.owner_pid = 0  # as `rerank-kit launch` leaves it
    press(panel, panel.stop)
    assert "Stop it for everybody" in panel.state.value and panel.force.layout.display is None
    assert server.reranker().score([("a", "b")])  # it lives


def test_the_remote_profile_starts_nothing(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RERANK_URL", raising=False)
    panel: Any = panels.launch("practice")
    panel.profile.value = "remote"
    assert "RERANK_URL" in panel.status.value and panel.model.problem is not None
    press(panel, panel.start)
    assert "The remote profile needs" in panel.status.value
    panel.profile.value = "practice"
    assert "vllm serve" in panel.command.value and panel.model.problem is None


def test_price_of_the_guard_is_known(own_state: Path) -> None:
    from rerank_kit.money import Budget, guard_files

    guard_files.write_budget(Budget(2.5, 10, "CNY"))
    model = LaunchModel("practice")
    assert (model.price_per_hour, model.currency) == (2.5, "CNY")


# --- Search, Judge --------------------------------------------------------------------------


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


# --- Memory, Doctor, Money ------------------------------------------------------------------


def test_the_memory_panel_says_what_the_plan_says() -> None:
    panel: Any = panels.memory("T4")
    panel.which.value, panel.length.number.value = "8B", 4096
    made = memory.plan("8B", memory.device_named("T4"), max_model_len=4096)
    assert made.verdict == memory.DOES_NOT_FIT and "does not fit" in panel.bar.value
    assert f"{made.total_gib:.2f}" in panel.terms.value
    panel.form.value = "awq"
    assert panel.model.bar().verdict.startswith(("fits", "tight"))
    assert "RTX 4090" in panel.model.smallest_cards()
    panel.beside.value = True
    assert "other server" in dict(panel.model.bar().parts)
    for gpu in panel.model.gpus():
        panel.gpu.value = gpu
        assert panel.model.problem is None, gpu


def test_the_doctor_examines_the_server_that_runs(server: Any) -> None:
    panel: Any = panels.doctor(server.url)
    press(panel, panel.examine)
    assert panel.model.examination.ok and "Nothing needs fixing." in panel.findings.value
    panel.url.value = "http://127.0.0.1:9"
    press(panel, panel.examine)
    assert not panel.model.examination.ok and "need fixing" in panel.findings.value


def test_money_needs_a_price_and_the_guard_is_a_real_one(own_state: Path) -> None:
    panel: Any = panels.money()
    assert "say what the machine costs" in panel.numbers.value
    press(panel, panel.on)
    assert "the price per hour must be more than 0" in panel.status.value
    panel.price.value, panel.limit.value, panel.currency.value = 1.0, 1e6, "CNY"
    assert "CNY" in panel.numbers.value and "minutes" in panel.numbers.value
    press(panel, panel.on)
    try:
        assert panel.model.is_on and "The guard is on" in panel.guard.value
        assert not panel.off.disabled
    finally:
        press(panel, panel.off)
    assert not panel.model.is_on and "nothing watches the bill" in panel.guard.value


def test_each_step_has_its_cost_and_the_rest_of_the_time_too(
    own_state: Path, rank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rented machine is paid for whatever it does: most of it is waiting."""
    steps = Steps()
    monkeypatch.setattr("rerank_kit.panels.logic.work.STEPS", steps)
    monkeypatch.setattr("rerank_kit.panels.logic.spending.STEPS", steps)
    panel: Any = panels.money()
    assert panel.steps.value == ""
    press(rank, rank.rank)
    press(rank, rank.rank)
    assert ">ranking<" in panel.steps.value and ">2<" in panel.steps.value
    assert [one.cost for one in panel.model.steps()] == [None]
    panel.price.value = 3600.0
    ranking, rest = panel.model.steps()
    assert ranking.cost == pytest.approx(ranking.seconds) and ranking.seconds > 0
    assert (rest.name, rest.times) == (BESIDES, 0)
    assert ranking.cost + rest.cost == pytest.approx(panel.model.spent(), rel=0.01)
    press(panel, panel.on)  # the guard's own work is no step
    assert [one.name for one in panel.model.steps()] == ["ranking", BESIDES]


def test_a_ready_server_tells_what_it_does(server: Any, rank: Any) -> None:
    panel: Any = panels.launch("practice")
    panel.model.live_wanted = False  # this test does the looking
    panel.model.look_live()
    press(rank, rank.rank)
    panel.model.look_live()
    shown = panel.live.value
    assert "What it does now" in shown and "KV cache in use" in shown
    assert f">{panel.model.live.pairs_done:,} pairs<" in shown
    assert panel.model.live.seconds_per_pair is not None
    panel.language = "zh"
    assert "KV 缓存占用" in panel.live.value and "每对用时" in panel.live.value
    panel.model.record = None
    panel.model.look_live()
    assert panel.live.value == ""


# --- the page -------------------------------------------------------------------------------


def test_the_page_has_a_tab_for_every_panel(own_state: Path) -> None:
    page: Any = panels.app()
    assert list(page.tabs) == [
        "Rank", "Search", "Judge", "Launch", "Memory", "Tune", "Doctor", "Money"
    ]  # fmt: skip
    assert "none runs" in page.server_line.value
    for name, tab in page.tabs.items():
        tab.click()
        assert page.panels[name].widget in page.place.children and tab.button_style == "info"
        assert page.panels[name].model.problem is None


def test_two_pages_share_no_state(own_state: Path) -> None:
    one, two = panels.app(), panels.app()
    one.panel("Rank").query.value = "only mine"  # type: ignore[attr-defined]
    assert two.panel("Rank").query.value != "only mine"  # type: ignore[attr-defined]
