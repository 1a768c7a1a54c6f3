"""The panels in Chinese: everything of ours is translated, nothing of the user's is touched."""

from __future__ import annotations

import html
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from sentences_in_code import Source, error_names

import rerank_kit
from rerank_kit import Reranker, Server, doctor, errors, panels, versions
from rerank_kit.doctor import findings, known_bugs
from rerank_kit.errors import InputError
from rerank_kit.server import signatures
from rerank_kit.server.diagnosis import diagnose

pytest.importorskip("ipywidgets")
from rerank_kit.panels.logic.steps import STEPS
from rerank_kit.panels.views import language
from rerank_kit.panels.views.doctor import _finding_html

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
    """On failure: add the words to rerank_kit/panels/views/zh_CN.po."""
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


def _unknown(text: str) -> list[str]:
    """The sentences of a text of the failure clinic that a Chinese reader finds in English."""
    with_numbers = re.sub(r"\{\w+\}", "7", text)
    return [
        one
        for one in language._SENTENCES.split(with_numbers)
        if language.translated(one) == one and re.search(r"[A-Za-z]{3}", one)
    ]


def test_every_failure_family_is_told_in_chinese() -> None:
    """Named by family. On failure: add the sentences to failures_zh_CN.po."""
    missing = {}
    for family in signatures.catalogue().families.values():
        texts = [family.title, family.cause, *(fix.why for fix in family.fixes)]
        texts += [fix.change for fix in family.fixes if fix.kind == "advice"]
        english = [one for text in texts for one in _unknown(text)]
        whole = language.translated(re.sub(r"\{\w+\}", "7", family.cause))
        english += [whole] if re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{3,}", whole) else []
        if english:
            missing[family.id] = english
    assert missing == {}


def test_most_messages_have_a_chinese_title() -> None:
    """A message may have a title of its own; what is added to the clinic may come untranslated,
    and is shown in English then. Named by family."""
    titles = {one.title: one.family for one in signatures.catalogue().signatures if one.title}
    missing = {title: family for title, family in titles.items() if _unknown(title)}
    assert len(missing) < 0.3 * len(titles), missing


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


#: Words that are the same in every language: commands, flags, settings, paths, code.
CODE = re.compile(
    r"`[^`]*`|https?://\S+|\"[^\"]*\"|\brerank-kit [a-z]+|\bbash \S+|\bpip install\b|\bSSH\b|"
    r"--?[\w-]+|\S*[/_=|<>]\S*"
)


def half_english(shown: str) -> bool:
    """Whether three English words in a row are left in a text that is shown in Chinese."""
    words = CODE.sub(" | ", shown)
    return bool(re.search(r"[A-Za-z']{2,} [A-Za-z']{2,} [A-Za-z']{2,}", words))


def of_our_own(text: str) -> bool:
    return bool(re.search(r"[A-Za-z]{3}", CODE.sub(" ", text)))


def test_every_finding_of_the_doctor_is_told_in_chinese() -> None:
    """Read out of the doctor's source, as the panel shows it. On failure: doctor_zh_CN.po."""
    missing, seen = [], 0
    for path in sorted(Path(doctor.__file__).parent.glob("*.py")):
        source = Source(path, {"LAUNCH_FIX": findings.LAUNCH_FIX})
        for call in source.calls("Finding"):
            for status in source.argument(call, 1, "status"):
                texts = [source.argument(call, at, name) for at, name in
                         ((2, "detail"), (3, "cost"), (4, "fix"))]  # fmt: skip
                for detail, cost, fix in itertools.product(*texts):
                    one = findings.Finding("x", status, detail, cost, fix)
                    pieces = language._Pieces(language.translated)
                    pieces.feed(_finding_html(one))
                    shown = re.sub("<[^>]+>", "", html.unescape("".join(pieces.out)))
                    seen += 1
                    same = of_our_own(detail) and language.translated(detail) == detail
                    if same or half_english(shown):
                        missing.append(shown)
    assert seen > 80, "the search in the doctor's source finds nothing: it is broken"
    assert missing == []


def test_every_known_bug_is_told_in_chinese() -> None:
    """For every release that the kit has facts of, and older ones."""
    versions_known = [row.version for row in versions.table()] + ["0.8.0", "0.9.1", "0.10.2"]
    bad = [found for found in versions_known if known_bugs.bugs_of(found)]
    assert len(bad) > 3
    for found in bad:
        bugs = known_bugs.bugs_of(found)
        detail = f"vLLM {found}: {'; '.join(bug.effect for bug in bugs)}"
        fix = f"{bugs[0].cure}  ({', '.join(dict.fromkeys(bug.source for bug in bugs))})"
        for text in (detail, fix):
            shown = language.translated(text)
            assert has_chinese(shown) and not half_english(shown), (found, shown)


def has_chinese(text: str) -> bool:
    return bool(re.search(r"[\u4e00-\u9fff]", text))


#: The files whose errors a person can provoke in a panel.
PROVOKED = (
    "errors.py", "models.py", "registry.py", "panels/logic", "client/http_errors.py",
    "client/transport.py", "client/connections.py", "client/documents.py", "client/dialect.py",
    "client/jobs.py", "client/assembly.py", "client/tokenizer.py", "client/cutting.py",
    "client/engines", "doctor/patient.py", "search/judge.py", "search/needs.py",
    "search/proposals.py", "search/documents.py", "money/guard_control.py", "money/limits.py",
    "money/meter.py", "tuning/knobs.py", "tuning/limit.py", "tuning/load.py", "tuning/search.py",
    "tuning/texts.py", "tuning/workload.py", "memory/devices.py", "memory/planning.py",
    "server/lifecycle.py", "server/live.py", "server/ports.py", "server/profiles.py",
    "server/readiness.py", "server/waiting.py",
)  # fmt: skip
#: Only a program that calls the function itself meets these.
ONLY_IN_CODE = re.compile(
    r".*exists already\.|go on with it: Judging.*|propose_queries.*|a grade is 1 to 5.*|"
    r".*is no result of .* in this session\.|.*is no engine that this client knows\.|one of .*|"
    r"This server does not read a finished prompt.*|leave out engine=.*|kill 7"
)


def english_of(texts: list[str]) -> list[str]:
    """Those that a Chinese reader would find in English, whole or in part."""
    return [
        text
        for text in texts
        if of_our_own(text) and not ONLY_IN_CODE.fullmatch(text)
        and (half_english(language.translated(text)) or not has_chinese(language.translated(text)))
    ]  # fmt: skip


def test_every_error_of_a_panel_is_told_in_chinese() -> None:
    """What it says and what to try, read out of the source. On failure: errors_zh_CN.po."""
    root, missing, seen = Path(rerank_kit.__file__).parent, {}, 0
    for name in PROVOKED:
        place = root / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            source = Source(path)
            for call in source.calls(*error_names(errors)):
                texts = source.argument(call, 0, "message") + source.argument(call, 9, "hint")
                missing |= {text: f"{path.name}:{call.lineno}" for text in english_of(texts)}
                seen += len(texts)
            for call in source.calls("_failure"):  # server/waiting.py makes the error there
                missing |= dict.fromkeys(english_of(source.argument(call, 1, "message")), path.name)
    assert seen > 200, "the search in the source finds nothing: it is broken"
    assert missing == {}
