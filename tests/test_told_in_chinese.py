"""What the kit says in panels, in Chinese: found by reading the source and the clinic, so that a
sentence that is new and has no translation is noticed."""

from __future__ import annotations

import ast
import base64
import html
import itertools
import re
from pathlib import Path

import pytest
from chinese_texts import forget, half_english, has_chinese, of_our_own
from sentences_in_code import Source, error_names

import rerank_kit
from rerank_kit import doctor, errors, versions
from rerank_kit.doctor import findings, known_bugs
from rerank_kit.language import translated, translation
from rerank_kit.search.measures import Difference
from rerank_kit.search.verdict import Verdict
from rerank_kit.server import signatures
from rerank_kit.server.settings import RESERVED_FLAGS

pytest.importorskip("ipywidgets")
from rerank_kit.panels.views.doctor import _finding_html
from rerank_kit.panels.views.judge import verdict_html
from rerank_kit.panels.views.language import _Pieces


def _unknown(text: str) -> list[str]:
    """The sentences of a text of the failure clinic that a Chinese reader finds in English."""
    with_numbers = re.sub(r"\{\w+\}", "7", text)
    return [
        one
        for one in translation.sentences(with_numbers)
        if translated(one) == one and re.search(r"[A-Za-z]{3}", one)
    ]


def test_every_failure_family_is_told_in_chinese() -> None:
    """Named by family. On failure: add the sentences to failures_zh_CN.po."""
    missing = {}
    for family in signatures.catalogue().families.values():
        texts = [family.title, family.cause, *(fix.why for fix in family.fixes)]
        texts += [fix.change for fix in family.fixes if fix.kind == "advice"]
        english = [one for text in texts for one in _unknown(text)]
        whole = translated(re.sub(r"\{\w+\}", "7", family.cause))
        english += [whole] if re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{3,}", whole) else []
        if english:
            missing[family.id] = english
    assert missing == {}


def test_the_messages_of_the_clinic_are_told_in_chinese() -> None:
    """A message may have a title, a cause and fixes of its own; a few that were just added may
    come untranslated, and are shown in English then: causes_zh_CN.po. Nothing is mixed."""
    told, missing, mixed = set(), set(), []
    for one in signatures.catalogue().signatures:
        texts = [one.title, one.cause, *(fix.why for fix in one.fixes)]
        texts += [fix.change for fix in one.fixes if fix.kind == "advice"]
        for text in filter(None, texts):
            told |= set(translation.sentences(text))
            missing |= set(_unknown(text))
            shown = translated(re.sub(r"\{\w+\}", "7", text))
            mixed += [shown] if has_chinese(shown) and half_english(shown) else []
    assert mixed == []
    assert len(told) > 300
    assert len(missing) <= 0.03 * len(told), missing


def untold_findings() -> tuple[list[str], int]:
    """What the Doctor panel can show, as a Chinese reader sees it: those with English in them,
    and how many there are in all. Read out of the doctor's source."""
    missing, seen = [], 0
    for path in sorted(Path(doctor.__file__).parent.glob("*.py")):
        source = Source(path, {"LAUNCH_FIX": findings.LAUNCH_FIX})
        for call in source.calls("Finding"):
            for status in source.argument(call, 1, "status"):
                texts = [source.argument(call, at, name) for at, name in
                         ((2, "detail"), (3, "cost"), (4, "fix"))]  # fmt: skip
                for detail, cost, fix in itertools.product(*texts):
                    one = findings.Finding("x", status, detail, cost, fix)
                    pieces = _Pieces(translated)
                    pieces.feed(_finding_html(one))
                    shown = re.sub("<[^>]+>", "", html.unescape("".join(pieces.out)))
                    seen += 1
                    parts = filter(of_our_own, (detail, cost, fix))
                    if half_english(shown) or any(translated(p) == p for p in parts):
                        missing.append(shown)
    return missing, seen


def test_every_finding_of_the_doctor_is_told_in_chinese() -> None:
    """On failure: add the words to doctor_zh_CN.po."""
    missing, seen = untold_findings()
    assert seen > 80, "the search in the doctor's source finds nothing: it is broken"
    assert missing == []


@pytest.mark.parametrize(
    "english",
    [
        "every path answers to strangers: there is no key",
        "yes and no are swapped: a right answer scores {score}, a wrong one {other}",
        "the ranking is the order you sent",
        "see its log",
        "--chat-template with rerank_kit's template",
    ],
)
def test_a_finding_without_chinese_is_noticed(
    english: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch, english)
    missing, _ = untold_findings()
    assert len(missing) >= 1


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
            shown = translated(text)
            assert has_chinese(shown) and not half_english(shown), (found, shown)


#: The same in every language; or the reading of the source has found an empty name before it.
NO_WORDS = re.compile(r"kill 7|unset \w+|(apt-get|pip) install \S+|--jump \S+| .*")


def english_of(texts: list[str]) -> list[str]:
    """Those that a Chinese reader would find in English, whole or in part."""
    return [
        text
        for text in texts
        if of_our_own(text) and not NO_WORDS.fullmatch(text)
        and (half_english(translated(text)) or not has_chinese(translated(text)))
    ]  # fmt: skip


def untold_errors() -> tuple[dict[str, str], int]:
    """What an error says and what to try, where a Chinese reader finds English in it (text: where
    it is raised), and how many texts there are. Read out of the source."""
    missing, seen = {}, 0
    for path in sorted(Path(rerank_kit.__file__).parent.rglob("*.py")):
        source = Source(path)
        for call in source.calls(*error_names(errors)):
            texts = source.argument(call, 0, "message") + source.argument(call, 9, "hint")
            missing |= {text: f"{path.name}:{call.lineno}" for text in english_of(texts)}
            seen += len(texts)
        if path.name == "waiting.py":  # it makes the error elsewhere
            for call in source.calls("_failure"):
                missing |= dict.fromkeys(english_of(source.argument(call, 1, "message")), path.name)
    return missing, seen


def test_every_error_is_told_in_chinese() -> None:
    """On failure: add the words to errors_zh_CN.po, or to commands_zh_CN.po where no panel can
    show them."""
    missing, seen = untold_errors()
    assert seen > 600, "the search in the source finds nothing: it is broken"
    assert missing == {}


@pytest.mark.parametrize(
    "english",
    [
        "No server is running here yet.",
        "{url} refuses the key.",
        "check the path",
        "Name one goal: precision or recall.",
        "The server ended before it was ready.",
    ],
)
def test_an_error_without_chinese_is_noticed(english: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch, english)
    missing, _ = untold_errors()
    assert any(translation._pattern(english).fullmatch(one) for one in missing)


@pytest.mark.parametrize(
    ("name", "call", "place"),
    [
        ("client/assembly.py", "append", 0),
        ("memory/advice.py", "append", 0),
        ("search/documents.py", "append", 0),
        ("search/labelled.py", "append", 0),
        ("search/verdict.py", "append", 0),
        ("server/server.py", "StopReport", 2),
    ],
)
def test_every_note_is_told_in_chinese(name: str, call: str, place: int) -> None:
    """On failure: add the words to errors_zh_CN.po, those of the verdict to verdict_zh_CN.po."""
    source = Source(Path(rerank_kit.__file__).parent / name)
    texts = [one for each in source.calls(call) for one in source.argument(each, place, "")]
    if call == "StopReport":  # the panel makes a sentence of it
        texts = [f"{one[:1].upper()}{one[1:]}." for one in texts if one != "7"]
    assert len([one for one in texts if of_our_own(one)]) >= 1, "nothing is found: it is broken"
    assert english_of(texts) == []


def test_what_the_guard_says_is_told_in_chinese() -> None:
    source = Source(Path(rerank_kit.__file__).parent / "money/guard.py")
    texts = [one for call in source.calls("say") for one in source.argument(call, 0, "")]
    texts += [one for call in source.calls("_end") for one in source.argument(call, 2, "")]
    assert len([one for one in texts if of_our_own(one)]) > 8
    assert english_of([one.removeprefix("7. ") for one in texts]) == []  # 7: the reason


def test_reserved_flags_and_profiles_are_told_in_chinese() -> None:
    source = Source(Path(rerank_kit.__file__).parent / "server/profiles.py")
    chosen = source.functions["choose_profile"][0]
    whys = [
        text
        for one in ast.walk(chosen)
        if isinstance(one, ast.Return) and isinstance(one.value, ast.Tuple)
        for text in source.texts(one.value.elts[1])
    ]
    assert len(whys) == 4
    assert english_of([*whys, *RESERVED_FLAGS.values()]) == []


#: The measured difference behind each verdict.
VERDICTS = {
    "better": Difference(0.5, 0.61, 0.02, 0.2, 0.01, 0.09, 40),
    "worse": Difference(0.5, 0.39, -0.2, -0.02, 0.01, 0.09, 40),
    "no difference shown": Difference(0.5, 0.52, -0.1, 0.14, 0.6, 0.09, 40),
    "too few queries": Difference(0.5, 0.61, 0.02, 0.2, 0.01, 0.0, 2),
}


@pytest.mark.parametrize("sure", VERDICTS)
@pytest.mark.parametrize("minutes", [0.5, 12.0])
def test_the_verdict_is_told_in_chinese(sure: str, minutes: float) -> None:
    made = a_verdict(sure, minutes)
    assert made.difference.verdict == sure
    pieces = _Pieces(translated)
    pieces.feed(verdict_html(made, "zh"))
    shown = "".join(pieces.out)
    link = re.search('base64,([^"]+)', shown)
    assert link is not None
    page = base64.b64decode(link[1]).decode()
    for text in (shown, page.split("</style>")[1]):
        english = [one for one in re.split("<[^>]+>", html.unescape(text)) if half_english(one)]
        assert english == []
        assert "接下来可以试什么" in text and "打分" in text and "每个查询用时" in text
    assert '<html lang="zh-CN">' in page and "<title>重排序在这里有用吗？</title>" in page
    assert "<td>Money</td>" in re.sub(' class="[^"]*"', "", page), "a query of the user's"


def test_the_saved_verdict_is_english_in_english() -> None:
    made = a_verdict("better")
    link = re.search('base64,([^"]+)', verdict_html(made))
    assert link is not None
    assert base64.b64decode(link[1]).decode() == made.html_page()


def a_verdict(sure: str, minutes: float = 3.0) -> Verdict:
    """One whose every next step is to be said."""
    facts = {
        "before": "BM25", "after": "BM25 + rerank", "model": "practice", "depth": "30",
        "documents": "90", "candidates": "30",
    }  # fmt: skip
    return Verdict(
        VERDICTS[sure], 12, 5, facts, {"recall": 1.2, "rerank": 2400.0}, {"0.6B": "RTX 3090"},
        432.0, "CNY", 8.0, (("Money", 0.2, 0.9),), 60, minutes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("note: document 3 was left out: no score", "注意：文档 3 没有打分：没有分数"),
        (
            "note: Money was left out: line 2 is not JSON",
            "注意：没有读 Money：第 2 行不是 JSON",
        ),
        (
            "it could not be asked: http://a:1 broke off the connection.",
            "没能问到它：http://a:1 中断了连接。",
        ),
        (
            "the prompt cannot be seen from here: /tokenize does not exist there: that server does "
            "not rerank.",
            "从这里看不到提示词：那里没有 /tokenize：那个服务不做重排序。",
        ),
        (
            "The server ended before it was ready. Not enough memory for the key-value cache",
            "服务还没就绪就结束了。KV 缓存的内存不够",
        ),
    ],
)
def test_messages_inside_messages(english: str, chinese: str) -> None:
    """One message may end with another, which is looked up by itself."""
    assert translated(english) == chinese
