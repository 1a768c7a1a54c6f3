"""The panels in Chinese: everything of ours is translated, nothing of the user's is touched."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rerank_kit import Reranker, Server, panels
from rerank_kit.errors import InputError
from rerank_kit.money.guard import what_would_be_done
from rerank_kit.money.guard_files import GuardState
from rerank_kit.money.limits import Budget, what_is_due
from rerank_kit.server.diagnosis import diagnose

pytest.importorskip("ipywidgets")
from rerank_kit.panels.logic.steps import STEPS
from rerank_kit.panels.logic.texts import OWN_FOLDER
from rerank_kit.panels.views import language

NOW = datetime.now(UTC)
LOGS = Path(__file__).parent / "logs"
#: Names are the same in every language: products, flags, formats, our own identifiers.
NAMES = re.compile(
    r"rerank_kit|English|Profile|auto|practice|cpu|gpu|remote|CNY|GPU|([\d.]+ )?GiB|CUDA graph|"
    r"bfloat16|[\w.]+_[\w_]+|awq|fp8|float16|--[\w-]+( \S+)?|https?://\S+|/home/\S+|Qwen\S+|(RTX|Laptop|A100|PRO)\b.*"
)
#: The instructions of the library, and the default: English is what the model reads.
PICKED = re.compile(
    r"legal|technical|authority|beginner|academic|support|news|medical|course|portfolio|"
    r"Given a web search query, .*"
)


@pytest.fixture(autouse=True)
def no_steps() -> None:
    """The Money panel shows what other tests' panels did, under names that are no words of ours."""
    STEPS._done.clear()


def english(panel: Any) -> list[str]:
    """Our words in a panel that a Chinese reader would find in English."""
    return [
        text
        for widget in language.own_widgets(panel.widget)
        for text in language.passages(widget)
        if re.search(r"[A-Za-z]{3}", text)
        and not re.search(r"[\u4e00-\u9fff]", text)
        and not NAMES.fullmatch(text)
        and not PICKED.fullmatch(text)
    ]


@pytest.mark.parametrize("name", panels.__all__)
def test_every_panel_is_translated(name: str) -> None:
    """On failure: add the words to rerank_kit/language/panels_zh_CN.po."""
    panel = getattr(panels, name)()
    assert len(english(panel)) > 3, "the search for English words finds nothing: it is broken"
    panel.language = "zh"
    assert english(panel) == []


def test_a_running_server_is_told_in_chinese(server: Server) -> None:
    """The launch panel attaches to it: the tests above may have run without any server."""
    panel = panels.launch()
    assert "at http" in panel.state.value
    panel.language = "zh"
    assert english(panel) == []
    assert f"practice（practice），地址 {server.url}" in panel.state.value


def test_going_back_brings_the_english_and_keeps_what_was_chosen() -> None:
    panel = panels.rank()
    before = [list(language.passages(one)) for one in language.own_widgets(panel.widget)]
    panel.split_by.value = "paragraphs"
    panel.query.value = "怎样冲一杯好咖啡"
    panel.language = "zh"
    assert panel.rank.description == "排序"
    assert panel.split_by._options_labels[panel.split_by.index] == "以空行分隔的段落"
    assert (panel.split_by.value, panel.query.value) == ("paragraphs", "怎样冲一杯好咖啡")
    panel.split_by.value = "one a line"  # a choice in Chinese
    assert panel.model.split_by == "one a line"
    panel.language = "en"
    after = [list(language.passages(one)) for one in language.own_widgets(panel.widget)]
    assert after == before


def test_texts_of_the_user_are_never_translated(reranker: Reranker) -> None:
    """They may be the very words of a button or of a heading."""
    panel = panels.rank(reranker)
    panel.language = "zh"
    panel.query.value = "Money"
    panel.text.value = "Stop\nWeights\nverdict\nNothing needs fixing."
    panel.rank.click()
    panel.model.join()
    shown = panel.result.value
    for text in ("Money", "Stop", "Weights", "verdict", "Nothing needs fixing."):
        assert f">{text}<" in shown
    assert "名次" in shown
    assert "4 个文档" in shown
    assert "保存为 CSV" in shown


def test_what_a_ranking_says_is_chinese_too(reranker: Reranker) -> None:
    panel: Any = panels.rank(reranker)
    panel.model.rank()
    panel.model.join()
    panel.top_n.value, panel.threshold.value = 2, 0.01
    panel.model.rank()
    panel.model.join()
    panel.beside.value = 1
    panel.batch.many.value = True
    panel.model.rank()
    panel.model.join()
    panel.language = "zh"
    theirs = {one.query for one in panel.model.batch.rankings}
    assert [text for text in english(panel) if text not in theirs] == []
    panel.batch.many.value = False
    assert english(panel) == []


def test_a_sound_server_is_examined_in_chinese(server: Server) -> None:
    """And a search is told in it: what stands there only after a button was pressed."""
    panel: Any = panels.doctor(server.url)
    panel.model.examine()
    panel.model.join()
    panel.language = "zh"
    assert [text for text in english(panel) if server.url not in text] == []
    search: Any = panels.search(server.reranker())
    search.model.search()
    search.model.join()
    search.language = "zh"
    theirs = {*search.model.texts.queries, *search.sample._options_labels}
    assert [text for text in english(search) if text not in theirs] == []


def test_markup_survives_unchanged() -> None:
    panel = panels.memory()
    shown = panel.widget.children[1].value
    pieces = language._Pieces(lambda text: text)
    pieces.feed(shown)
    pieces.close()
    assert "".join(pieces.out).replace("&quot;", '"') == shown.replace("&quot;", '"')


def test_a_reader_of_screens_speaks_chinese_too() -> None:
    panel: Any = panels.memory()
    panel.language = "zh"
    assert '<table aria-label="显存逐项">' in panel.terms.value
    panel.language = "en"
    assert '<table aria-label="memory term by term">' in panel.terms.value


def test_each_viewer_of_the_page_has_a_language_of_their_own() -> None:
    one, other = panels.app(), panels.app()
    one.speak.value = "zh"
    one.go_to("Search")
    one.refresh()
    assert one.tabs["Rank"].description == "排序"
    assert one.panel("Search").query.description == "查询"
    assert other.tabs["Rank"].description == "Rank"


def test_the_language_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_KIT_LANGUAGE", "zh_CN.UTF-8")
    assert panels.doctor().examine.description == "开始体检"
    monkeypatch.setenv("RERANK_KIT_LANGUAGE", "fr")
    with pytest.raises(InputError, match="do not speak 'fr'"):
        panels.doctor()


def test_a_failure_is_told_in_chinese(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    panel.model.diagnosis = diagnose(LOGS / "kv_cache_too_small/bytes_length.log")
    panel.model.changed()
    panel.language = "zh"
    shown = panel.card.value + "".join(
        one.value for one in language.own_widgets(panel.fixes) if hasattr(one, "value")
    )
    assert "KV 缓存的内存不够" in shown and "它需要" in shown
    assert "kv_cache_too_small" in shown and "--kv-cache-memory-bytes" in shown
    assert english(panel) == []


def _provoke_rank(panel: Any) -> None:
    panel.query.value = " "
    panel.rank.click()


def _provoke_batch(panel: Any) -> None:
    panel.batch.many.value, panel.batch.queries.value = True, ""
    panel.rank.click()


def _provoke_file(panel: Any) -> None:
    panel.upload.value = ({
        "name": "Money", "content": b"\xff\xfe\x00", "type": "", "size": 3, "last_modified": NOW,
    },)  # fmt: skip
    panel.rank.click()


def _provoke_search(panel: Any) -> None:
    panel.texts.source.value, panel.texts.folder.value = OWN_FOLDER, "/nowhere/Money"
    panel.search.click()


def _provoke_doctor(panel: Any) -> None:
    panel.url.value = "http://127.0.0.1:9"
    panel.examine.click()


def _provoke_doctor_address(panel: Any) -> None:
    panel.url.value = "not an address"
    panel.examine.click()


def _provoke_launch(panel: Any) -> None:
    panel.flags.value = "--api-key 'x"


def _provoke_flag(panel: Any) -> None:
    panel.flags.value = "--port 9000"
    panel.start.click()


def _provoke_tune(panel: Any) -> None:
    panel.at_once.value = "a few"
    panel.start.click()


def _provoke_no_command(panel: Any) -> None:
    panel.profile.value, panel.show_log.value = "remote", True


#: What a person does wrong in a panel, the Chinese that has to be shown, and words of theirs that
#: have to stay.
PROVOCATIONS: dict[str, tuple[str, Callable[[Any], None], str, str]] = {
    "no server": ("rank", lambda panel: panel.rank.click(), "这里还没有服务在运行。", ""),
    "no query": ("rank", _provoke_rank, "查询是空的。", ""),
    "no queries": ("rank", _provoke_batch, "没有查询。", ""),
    "no text file": ("rank", _provoke_file, "Money 不是", "Money"),
    "no folder": ("search", _provoke_search, "不是文件夹", "/nowhere/Money"),
    "no judging": ("judge", lambda panel: panel.prepare.click(), "没有查询。", ""),
    "no answer": ("doctor", _provoke_doctor, "没有应答", "http://127.0.0.1:9"),
    "no address": ("doctor", _provoke_doctor_address, "不是", "not an address"),
    "no flags": ("launch", _provoke_launch, "引号没有闭合", ""),
    "reserved flag": ("launch", _provoke_flag, "请改用端口选项", "--port"),
    "no command": ("launch", _provoke_no_command, "# remote profile 需要服务的地址。", ""),
    "no log": ("launch", _provoke_no_command, "还没有日志", ""),
    "no number": ("tune", _provoke_tune, "不是一串整数", "a few"),
    "no limit": ("money", lambda panel: panel.on.click(), "每小时价格必须大于 0", ""),
}


@pytest.mark.parametrize("slip", PROVOCATIONS)
def test_what_goes_wrong_is_told_in_chinese(
    slip: str, own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RERANK_URL", raising=False)
    name, provoke, chinese, theirs = PROVOCATIONS[slip]
    panel: Any = getattr(panels, name)()
    panel.language = "zh"
    provoke(panel)
    panel.model.join()
    panel.refresh()
    shown = html.unescape(" ".join(one.value for one in _html_of(panel)))
    assert chinese in shown, re.sub("<[^>]+>", " ", shown)
    assert theirs in shown
    left = [text for text in english(panel) if not theirs or theirs not in text]
    assert left == []


def _html_of(panel: Any) -> list[Any]:
    return [one for one in language.own_widgets(panel.widget) if language._is_html(one)]


def test_the_name_of_a_file_is_not_translated() -> None:
    """It may be the very word on a tab."""
    panel: Any = panels.rank()
    panel.language = "zh"
    _provoke_file(panel)
    assert "文件：" in panel.file_line.value and ">Money<" in panel.file_line.value


def test_the_guard_speaks_chinese(own_state: Path) -> None:
    """Its messages of a countdown, as it writes them, with a real budget."""
    budget = Budget(2.5, 10.0, "CNY", on_limit="stop")
    due = what_is_due(budget, 4 * 3600.0, 0.0, 80)
    state = GuardState(reason=due.reason)
    state.say(f"{due.reason}: only a warning was asked for")
    state.say(f"{due.reason}. In 120 seconds: {'; '.join(what_would_be_done(budget))}. "
              "To prevent it: rerank-kit budget --cancel")  # fmt: skip
    panel: Any = panels.money()
    panel.model.guard = state
    panel.language = "zh"
    shown = panel.messages.value
    assert "预算 10.00 CNY 已用完（10.00 CNY）：你只要求提醒" in shown
    assert "120 秒后：停掉那时在运行的服务（现在没有）。要阻止它：rerank-kit budget" in shown
    assert english(panel) == []
