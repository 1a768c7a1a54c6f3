"""What is printed in Chinese: the hints of exercises, what `check` and the doctor find, errors."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from chinese_texts import forget, half_english, has_chinese, of_our_own
from sentences_in_code import UNKNOWN, Source

from rerank_kit import errors, exercises, machine, memory
from rerank_kit.doctor import Finding
from rerank_kit.language import LANGUAGES, localised, translated, translation
from rerank_kit.machine.gpu import what_capability_means, what_driver_means
from rerank_kit.remote import rented
from rerank_kit.server import StopReport
from rerank_kit.server.diagnosis import diagnose

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


def messages_of(name: str) -> dict[str, str]:
    """A catalogue: English -> Chinese."""
    with (files("rerank_kit.language") / name).open("rb") as file:
        return {str(one.id): str(one.string) for one in read_po(file) if one.id}


def test_every_catalogue_is_read_whole_and_agrees_with_the_others() -> None:
    """A file that nobody reads, a message without Chinese, two Chinese texts for one English."""
    found = {path.name for path in files("rerank_kit.language").iterdir() if ".po" in path.name}
    assert found == set(translation.CATALOGUES)
    told: dict[str, set[str]] = {}
    for name in translation.CATALOGUES:
        for message, shown in messages_of(name).items():
            told.setdefault(message, set()).add(shown)
    assert [message for message, shown in told.items() if len(shown) > 1 or "" in shown] == []


@pytest.mark.parametrize("name", translation.CATALOGUES)
def test_what_stands_in_a_message_stands_in_its_chinese(name: str) -> None:
    """A place that only the Chinese has would end in a KeyError; one that it lacks is lost."""
    for message, shown in messages_of(name).items():
        places = set(re.findall(r"\{(\w+)\}", message))
        values = dict.fromkeys(places, "7")
        filled = shown.format(**values) if "{" in message else shown
        assert "{" in message or "{" not in shown, message
        assert all(f"{{{place}}}" in shown for place in places), message
        assert not re.search(r"\{\w+\}", filled), message


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
    patterns = [(one, translation._pattern(one)) for one in messages_of("exercises_zh_CN.po")]
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


def untold_of_the_machine() -> tuple[list[str], int]:
    """What `rerank-kit check` can say in which a Chinese reader finds English; how many texts."""
    here = Path(machine.__file__).parent
    places = (here / "findings.py", here / "gpu_findings.py", Path(rented.__file__))
    texts = {
        text
        for source in map(Source, places)
        for call in source.calls("Finding")
        for place, name in ((2, "detail"), (3, "fix"))
        for text in source.argument(call, place, name)
        if of_our_own(text) and not NAMES_ONLY.fullmatch(text) and not MADE_UP.search(text)
    }
    words = {one: translated(one).split("   # ")[-1] for one in texts}  # behind a command
    missing = [one for one in texts if not has_chinese(words[one]) or half_english(words[one])]
    return missing, len(texts)


#: The same in every language.
NAMES_ONLY = re.compile(r"Python 7|bash .*|kill 7|unset [A-Z_]+|export [A-Z_]+=7\S*|nvidia-smi|"
                        "GPU 7: 7|ports free: 7")  # fmt: skip
#: Joined by the reading of the source, never by the kit: both sides of a choice after each other.
MADE_UP = re.compile("compiles at its first start:|needs none; the|^no C compiler$|^CC=7 is not a "
                     "program here$|^7 [(;]|^7; ")  # fmt: skip


def test_every_finding_about_the_machine_is_told_in_chinese() -> None:
    """On failure: add the words to rerank_kit/language/machine_zh_CN.po."""
    missing, seen = untold_of_the_machine()
    assert seen > 50, "the search in the source finds nothing: it is broken"
    assert missing == []


def test_a_finding_about_the_machine_without_chinese_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget(monkeypatch, "vLLM is not installed")
    assert untold_of_the_machine()[0] == ["vLLM is not installed"]


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("GPU 0: T4, 14.6 of 14.6 GiB free; " + what_capability_means(7.5),
         "GPU 0：T4，共 14.6 GiB，空闲 14.6 GiB；只有 float16（没有 bfloat16），用 Triton "
         "attention；fp8 省显存，但不省时间"),
        ("GPU 1: 3.0 GiB are in use: 1.0 GiB by Xorg (pid 7); 2.0 GiB by our server (pid 8)",
         "GPU 1：3.0 GiB 被占用：Xorg 占 1.0 GiB (pid 7)；我们的服务占 2.0 GiB (pid 8)"),
        ("driver 550.54 (CUDA up to 12.4) " + what_driver_means("550.54")[1],
         "驱动 550.54（CUDA 最高 12.4）能运行 vLLM 0.19.1 (CUDA 12)；vLLM 0.32.0 需要驱动 580.65 "
         "或更新"),
        ("port 8000 is taken by our server; 8888 is taken by jupyter, and other machines can reach "
         "it: a launch takes a free one",
         "端口 8000 被我们的服务占用；8888 被 jupyter 占用，而且别的机器能访问它：启动时会用一个"
         "空闲的"),
        ("Hugging Face: no answer in time; ModelScope answers; on this disk: 0.6B, 4B",
         "Hugging Face：没有及时应答；ModelScope 有应答；这块磁盘上有：0.6B, 4B"),
    ],
)  # fmt: skip
def test_findings_with_several_parts(english: str, chinese: str) -> None:
    assert translated(english) == chinese


def test_what_a_rented_machine_keeps_is_told_in_chinese() -> None:
    for one in rented.rented_machines().values():
        shown = translated(f"models would go to /root. {one.keeps}")
        assert shown.startswith("模型会放到 /root。") and not half_english(shown)


def test_this_machine_is_told_in_chinese(chinese: None) -> None:
    for finding in machine.report("practice"):
        assert str(finding).startswith(f"[{finding.status}]")
        assert NAMES_ONLY.match(finding.detail) or finding.id == "python" or has_chinese(
            str(finding)
        ), finding
        assert not has_chinese(finding.detail), "what --json prints stays English"


def test_a_finding_of_the_doctor_is_told_in_chinese(chinese: None) -> None:
    made = Finding(
        "reachable", "fix", "Nothing answers at http://a:1.", "nothing is ranked",
        "start a server (rerank-kit launch) or check the address and the tunnel",
    )  # fmt: skip
    assert str(made).splitlines() == [
        "[fix]     http://a:1 没有应答。",
        "          代价：什么都不会排序",
        "          -> 启动一个服务（rerank-kit launch），或检查地址和隧道",
    ]


def test_a_diagnosis_is_told_in_chinese(chinese: None) -> None:
    found = diagnose(Path(__file__).parent / "logs/kv_cache_too_small/bytes_length.log")
    shown = str(found).splitlines()
    assert shown[0] == "KV 缓存的内存不够"
    assert f"  第 {found.evidence[0].line} 行: {found.evidence[0].text}" in shown
    assert f"  1. {found.fixes[0].change}" in shown
    ours = [line for line in shown if not re.match(r"  (第|\d)", line)]
    assert [line for line in ours if half_english(line)] == []
    assert not has_chinese(str(found.as_dict()))


def test_an_error_is_told_in_chinese(chinese: None) -> None:
    error = errors.InputError("There are no queries.", evidence="line 1\nline 2",
                              hint="check the path")  # fmt: skip
    assert str(error) == "没有查询。\n  证据：line 1\nline 2\n  试试：检查路径"
    assert error.as_dict()["error"]["message"] == "There are no queries."
    strange = errors.InputError("Nobody has translated this.", hint="nor this")
    assert str(strange) == "Nobody has translated this.\n  试试：nor this"


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_the_command_line_says_what_is_wrong_in_chinese(extra: list[str]) -> None:
    """And --json, which programs read, says it in English."""
    done = subprocess.run(
        [sys.executable, "-m", "rerank_kit", "doctor", "--url", "no address", *extra],
        env=os.environ | {"RERANK_KIT_LANGUAGE": "zh"}, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert has_chinese(done.stderr.decode()) is not bool(extra)
    assert not has_chinese(done.stdout.decode())


def test_what_a_lesson_ends_with(chinese: None) -> None:
    assert "已停止" in str(StopReport("practice", True, "stopped in 0.6 s: port 8000 free"))
    assert "继续运行" in str(StopReport("practice", False, "left running", left_running=True))
    assert "已经不在运行" in str(StopReport("practice", False, "it was not running any more"))
    held = "stopped in 0.6 s: no process left, port 8000 held by another program"
    assert "另一个程序" in str(StopReport("practice", True, held))
