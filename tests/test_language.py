"""The course's answers in Chinese: every hint of an exercise, and how a text finds its Chinese."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from chinese_texts import forget, half_english, has_chinese
from sentences_in_code import UNKNOWN, Source

from rerank_kit import exercises, memory
from rerank_kit.language import LANGUAGES, localised, translated, translation

FILES = sorted(Path(exercises.__file__).parent.glob("*.py"))
T4 = memory.device_named("T4")


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_KIT_LANGUAGE", "zh")


def answers() -> list[str]:
    """Everything that an exercise can answer in English, read out of the source; what its values
    and the errors of others bring is said by real answers."""
    found = [exercises.PASS, *real_answers()]
    for path in FILES:
        source = Source(path)
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("check_"):
                found += _returned_by(node, source)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                found += [  # what stands in the question -> (the right answer, a hint)
                    value.elts[1].value for value in node.value.values
                    if isinstance(value, ast.Tuple) and isinstance(value.elts[1], ast.Constant)
                ]  # fmt: skip
    return [text for text in dict.fromkeys(found) if text != UNKNOWN]


def _returned_by(function: ast.FunctionDef, source: Source) -> list[str]:
    return [
        text
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and node.value is not None
        for text in source.texts(node.value)
    ]


def real_answers() -> list[str]:
    """Those whose words come from elsewhere."""
    options: tuple[Mapping[str, object], ...] = (
        {}, {"quantization": "int3"}, {"quantization": "int8_per_channel_weight_only"},
        {"max_model_len": 10**6},
    )  # fmt: skip
    return [
        *(exercises.check_options_fit(one, "8B", T4) for one in options),
        exercises.check_addresses({"": ""}, "http://a"),
        exercises.check_addresses({"": "http://a/v1"}, "http://a"),
        exercises.check_profiles({}),
    ]


def untold() -> list[str]:
    return [
        text for text in answers()
        if not has_chinese(translated(text)) or half_english(translated(text))
        or text.startswith("hint") and "提示：" not in translated(text)
    ]  # fmt: skip


def test_every_answer_of_an_exercise_is_told_in_chinese() -> None:
    """On failure: add the words to rerank_kit/language/exercises_zh_CN.po."""
    assert len(answers()) > 100, "the search in the source finds nothing: it is broken"
    assert untold() == []


@pytest.mark.parametrize(
    "english",
    [
        "hint: a larger depth is clearly better",
        "hint: {hits} hits make {documents} documents",
        "one machine can always fail",
        "hint for patient {number}: read line {line} again; what is short, and whose?",
    ],
)
def test_an_answer_without_chinese_is_noticed(
    english: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch, english)
    assert len(untold()) >= 1


def test_no_chinese_is_left_of_an_answer_that_is_gone() -> None:
    """On failure: take the message out of rerank_kit/language/exercises_zh_CN.po."""
    known = answers()
    with (files("rerank_kit.language") / "exercises_zh_CN.po").open("rb") as file:
        messages = [str(one.id) for one in read_po(file) if one.id]
    patterns = [(one, translation._pattern(one)) for one in messages]
    stale = [one for one, pattern in patterns if not any(map(pattern.fullmatch, known))]
    assert stale == []
    assert not any(map(translation._pattern("hint: an answer of old").fullmatch, known))


def test_every_check_speaks_the_readers_language() -> None:
    checks = [name for name in exercises.__all__ if name.startswith("check_")]
    assert len(checks) > 30
    assert [one for one in checks if not hasattr(getattr(exercises, one), "__wrapped__")] == []


def test_hints_are_chinese_for_a_chinese_reader(chinese: None) -> None:
    """What stands in the question, names, numbers and code come through as they are."""
    assert exercises.check_hits([1], [2, 3]) == "提示：2 个结果应该变成 2 个文档"
    assert exercises.check_paths({"/metrics"}) == "提示：/metrics 不用密钥，vLLM 对谁都回答"
    assert exercises.check_profiles({"teacher": "practice"}) == (
        "关于 engineer 的提示：notebook 就在有 GPU 的机器上运行"
    )
    assert exercises.check_hits([1], [2]) == '提示：一个文档写成 {"id": ..., "text": ...}'
    assert exercises.check_options_fit({"max_model_len": 10**6}, "8B", T4) == (
        "提示：这个模型最多读 40960 个 token，而不是 1000000 个。"
        "--max-model-len 应在 1 到 40960 之间"
    )


@pytest.mark.parametrize("wanted", ["", "en", "fr", "en_US.UTF-8"])
def test_they_are_english_for_everybody_else(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_KIT_LANGUAGE", wanted)
    assert exercises.check_paths("x") == "hint: a set of paths, each between quotation marks"
    assert exercises.check_room(1, 1, 0) == "hint: the prompt and the query take their part of it"


@pytest.mark.parametrize("text", ["hint: nobody has written this yet", "我的文档", "", "  "])
def test_a_text_without_chinese_stays_as_it_is(text: str, chinese: None) -> None:
    assert localised(text) == text


def test_a_right_answer_is_a_pass_in_both_languages() -> None:
    """Whoever marks the exercises compares with PASS."""
    code = (
        "from rerank_kit.exercises import PASS, check_cheap_enough as check\n"
        "import sys; sys.stdout.buffer.write(f'{PASS} {check(277.8) == PASS}'.encode())"
    )
    said = [
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"RERANK_KIT_LANGUAGE": one},
                       capture_output=True, check=True, timeout=60).stdout.decode()
        for one in LANGUAGES
    ]  # fmt: skip
    assert said == ["pass True", "通过 True"]


def test_the_light_package_answers_in_english(
    chinese: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Babel, which reads the catalogues, comes with the notebooks."""
    monkeypatch.setitem(sys.modules, "babel.messages.pofile", None)
    translation._catalogue.cache_clear()
    assert localised("hint: the price is PRICE_PER_HOUR") == "hint: the price is PRICE_PER_HOUR"
