"""The Chinese notebooks are the English ones in Chinese: complete, in step, the same code."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest
import translate_notebooks as translation
from notebook_rules import NOTEBOOKS, source_of
from set_up import lab
from set_up.project import Project

CATALOGUES = sorted(translation.CHINESE.glob("*.po"))


def stem(path: Path) -> str:
    return path.stem


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """A copy of a catalogue to spoil."""
    return Path(shutil.copy(translation.CHINESE / "01_first_ranking.po", tmp_path))


def test_every_lesson_and_the_teachers_page_has_a_chinese_edition() -> None:
    english = {path.stem for path in NOTEBOOKS.glob("*.ipynb")} - {"app"}
    assert len(english) > 14 and english == set(map(stem, CATALOGUES))


@pytest.mark.parametrize("path", CATALOGUES, ids=stem)
def test_nothing_is_untranslated_stale_or_half_width(path: Path) -> None:
    """On failure: python scripts/translate_notebooks.py, then fill in what it names."""
    assert translation.problems_of(path) == []


@pytest.mark.parametrize("path", CATALOGUES, ids=stem)
def test_the_edition_is_what_the_script_makes(path: Path) -> None:
    written = translation.target_of(path).read_text(encoding="utf-8")
    assert written == translation.written(translation.edition_of(path))


@pytest.mark.parametrize("path", CATALOGUES, ids=stem)
def test_the_code_and_its_output_are_those_that_were_tested(path: Path) -> None:
    english = translation.source_for(path)["cells"]
    chinese = json.loads(translation.target_of(path).read_text(encoding="utf-8"))["cells"]
    assert [cell["id"] for cell in english] == [cell["id"] for cell in chinese]
    for before, after in zip(english, chinese, strict=True):
        if before["cell_type"] == "code":
            trees = [ast.dump(ast.parse(source_of(cell))) for cell in (before, after)]
            assert trees[0] == trees[1]
            assert before["outputs"] == after["outputs"]


@pytest.mark.parametrize("path", CATALOGUES, ids=stem)
def test_links_lead_somewhere(path: Path) -> None:
    for cell in translation.edition_of(path)["cells"]:
        for target in translation.LINK.findall(source_of(cell)):
            if not target.startswith("https://"):  # the same address as in English: _slips
                assert (translation.CHINESE / target).exists(), target
                assert not (translation.CHINESE / Path(target).name).exists() or "/" not in target


def relative_paths_that_break(source: str) -> list[str]:
    """Paths with ".." that lead nowhere one folder deeper. Allowed beside the same path without
    it: then the cell tries both."""
    nodes = ast.walk(ast.parse(source))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    above = {text for text in texts if isinstance(text, str) and text.startswith("..")}
    return sorted(text for text in above if text.removeprefix("../") not in texts)


def test_a_path_that_breaks_is_found() -> None:
    """The teacher's page looked for ../scripts, which notebooks/zh-CN does not have."""
    assert relative_paths_that_break('run("../scripts/try.py")') == ["../scripts/try.py"]
    assert relative_paths_that_break('places = ("recorded", "../recorded")') == []


@pytest.mark.parametrize("path", CATALOGUES, ids=stem)
def test_no_cell_looks_for_a_file_that_only_the_english_folder_sees(path: Path) -> None:
    for cell in translation.source_for(path)["cells"]:
        if cell["cell_type"] == "code":
            assert relative_paths_that_break(source_of(cell)) == [], cell["id"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('msgstr "在这里写你的文档"', 'msgstr ""', "exercise_1_answer: not translated"),
        ('msgid "your document"', 'msgid "your old document"', "stale: 'your old document'"),
        ("`--host 127.0.0.1` 的意思", "`--port 127.0.0.1` 的意思", "command_after: code spans"),
        ("状态码 200，", "状态码 200,关于", "a half-width sign"),
        ("- `index` 是文档", "`index` 是文档", "raw_after: points differ"),
    ],
)
def test_a_spoiled_catalogue_is_found(catalogue: Path, before: str, after: str, said: str) -> None:
    text = catalogue.read_text(encoding="utf-8")
    assert before in text
    catalogue.write_text(text.replace(before, after, 1), encoding="utf-8")
    assert any(said in problem for problem in translation.problems_of(catalogue))


def test_a_changed_passage_loses_its_translation(catalogue: Path) -> None:
    """The English edition changed: an old translation must not pass for the new text."""
    text = catalogue.read_text(encoding="utf-8")
    catalogue.write_text(text.replace("## An instruction", "## One instruction", 1), "utf-8")
    translation.update(catalogue)
    assert translation.problems_of(catalogue) == [
        "01_first_ranking: instruction_intro: not translated"
    ]


def test_the_course_opens_in_the_language_that_was_asked_for() -> None:
    project = Project(translation.NOTEBOOKS.parent)
    chosen = [lab.first_notebook(project, {"RERANK_KIT_LANGUAGE": one}) for one in ("", "zh_CN")]
    assert [path.relative_to(project.root).as_posix() for path in chosen] == [
        "notebooks/00_start_here.ipynb",
        "notebooks/zh-CN/00_start_here.ipynb",
    ]
    assert all(path.is_file() for path in chosen)
