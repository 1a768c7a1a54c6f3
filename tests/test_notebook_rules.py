"""Every notebook keeps the rules of the course, and the rules really catch a bad one."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import notebook_rules as rules
import pytest

PROJECT = rules.NOTEBOOKS.parent
ALL = rules.all_notebooks()
LESSONS = [path for path in ALL if rules.is_course_notebook(path)]
SOLUTIONS = [path for path in ALL if path.parent.name == "solutions"]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return str(path.relative_to(rules.NOTEBOOKS))


def test_there_are_notebooks_to_check():
    """An empty list of files would make every test below pass."""
    assert len(LESSONS) >= 6
    assert SOLUTIONS


@pytest.mark.parametrize("path", ALL, ids=name)
def test_outputs_come_from_one_clean_run_and_name_no_machine(path):
    """Two thirds of the notebooks of well-known courses fail this one."""
    assert rules.output_problems(read(path)) == []


@pytest.mark.parametrize("path", ALL, ids=name)
def test_cells_are_short_and_plain(path):
    assert rules.source_problems(read(path)) == []


@pytest.mark.parametrize("path", LESSONS, ids=name)
def test_a_lesson_has_its_shape(path):
    assert rules.lesson_problems(read(path)) == []


@pytest.mark.parametrize("path", SOLUTIONS, ids=name)
def test_the_exercise_is_what_the_script_makes_from_the_solution(path):
    """Edited by hand, an exercise and its solution drift apart (seen in other courses)."""
    solution = read(path)
    exercise = read(rules.NOTEBOOKS / path.name)
    made = rules.exercise_from(solution)
    assert rules.without_outputs(exercise) == rules.without_outputs(made)
    assert any("solution" in rules.tags_of(cell) for cell in solution["cells"])
    assert not any("solution" in rules.tags_of(cell) for cell in exercise["cells"])
    assert not any("starter" in cell["metadata"] for cell in exercise["cells"])


@pytest.mark.parametrize("path", [p for p in LESSONS if p not in SOLUTIONS], ids=name)
def test_every_lesson_has_a_solution(path):
    assert (rules.NOTEBOOKS / "solutions" / path.name).exists()


@pytest.mark.parametrize("path", ALL, ids=name)
def test_links_to_other_notebooks_lead_somewhere(path):
    import re

    for cell in read(path)["cells"]:
        for target in re.findall(r"\]\(([\w./-]+\.ipynb)\)", rules.source_of(cell)):
            assert (path.parent / target).exists(), target


# --- the rules themselves: each fault, put into a good notebook, must be found


def code(source: str, count: int, *tags: str, text: str = "", **metadata: str) -> dict[str, Any]:
    output = {"output_type": "stream", "name": "stdout", "text": text}
    return {
        "id": f"code{count}", "cell_type": "code", "source": source, "execution_count": count,
        "metadata": {"tags": list(tags), **metadata}, "outputs": [output] if text else [],
    }  # fmt: skip


def prose(source: str) -> dict[str, Any]:
    return {"id": "prose", "cell_type": "markdown", "source": source, "metadata": {}}


def good_notebook() -> dict[str, Any]:
    title = "# Does it work?\n- see it\n- say why\n\nAbout 5 minutes. Cost: free."
    recap = "## What you can do now\nAll.\n\n1. What?\n2. Why?\n3. How?"
    cells = [
        prose(title),
        code("PORT = None", 1, "parameters"),
        code("print('hello')", 2, text="hello"),
        prose("## Exercises"),
        code("answer = 1", 3, "exercise"),
        prose("And one more."),
        code("answer = 2", 4, "exercise", "solution", starter="answer = 0"),
        prose("## Stop"),
        code("server = launch('practice')", 5),
        code("print(server.stop())", 6, "cleanup"),
        prose(recap),
    ]
    metadata = {"language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def all_problems(notebook: dict[str, Any]) -> list[str]:
    return [
        *rules.output_problems(notebook),
        *rules.source_problems(notebook),
        *rules.lesson_problems(notebook),
    ]


def test_a_good_notebook_has_no_problems():
    assert all_problems(good_notebook()) == []


def _set(place: int, key: str, value: Any):
    return lambda notebook: notebook["cells"][place].update({key: value})


def _says(text: str):
    stream = {"output_type": "stream", "name": "stdout", "text": text}
    return _set(2, "outputs", [stream])


ERROR = {"output_type": "error", "ename": "KeyError", "evalue": "x", "traceback": []}
WARNING = {"output_type": "stream", "name": "stderr", "text": "careful"}
VIEW = {"output_type": "display_data", "metadata": {}, "data": {rules.WIDGET_VIEW: {}}}
HTML = {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<b>pid 77</b>"}}
FAULTS = {
    "not run": (_set(2, "execution_count", None), "one clean run"),
    "run out of order": (_set(2, "execution_count", 7), "one clean run"),
    "error": (_set(2, "outputs", [ERROR]), "stores an error: KeyError"),
    "warning": (_set(2, "outputs", [WARNING]), "stores a warning"),
    "widget view": (_set(2, "outputs", [VIEW]), "widget view"),
    "widget state": (lambda nb: nb["metadata"].update(widgets={}), "widget state"),
    "language": (lambda nb: nb["metadata"]["language_info"].update(version="3"), "language_info"),
    "home path": (_says("saved to /home/jane/model"), "a path of this machine"),
    "root path": (_says("File '/root/x.py'"), "a path of this machine"),
    "package path": (_says("lib/site-packages/vllm"), "a path of this machine"),
    "port in address": (_says("http://127.0.0.1:34567/v1"), "a port"),
    "port in words": (_says("port 34567 is free"), "a port"),
    "pid": (_says("started, pid 4711"), "a process number"),
    "pid in html": (_set(2, "outputs", [HTML]), "a process number"),
    "date": (_says("on 2026-11-20"), "a date"),
    "time": (_says("at 12:30:59"), "a time of day"),
    "address": (_says("<object at 0x7f3a5c0b1d90>"), "a memory address"),
    "long cell": (_set(2, "source", "x = 1\n" * 13), "13 lines"),
    "long line": (_set(2, "source", f"x = '{'a' * 90}'"), "characters"),
    "magic": (_set(2, "source", "%time x = 1"), "not plain Python"),
    "shell": (_set(2, "source", "!vllm serve x &"), "not plain Python"),
    "empty code": (_set(2, "source", " "), "is empty"),
    "variable taken away": (_set(2, "source", "del os.environ['RERANK_API_KEY']"), "put it back"),
    "nbval comment": (_set(2, "source", "# NBVAL_SKIP\nx = 1"), "nbval comment"),
    "long prose": (_set(3, "source", "word " * 80), "80 words"),
    "long Chinese prose": (_set(3, "source", "汉字" * 80), "80 words"),
    "empty prose": (_set(3, "source", ""), "is empty"),
    "three in a row": (_set(3, "cell_type", "code"), "in a row"),
    "unknown tag": (_set(2, "metadata", {"tags": ["hide"]}), "unknown tag hide"),
    "no reason": (_set(2, "metadata", {"tags": ["nbval-ignore-output"]}), "no reason"),
    "too many unchecked": (
        _set(2, "metadata", {"tags": ["nbval-skip"], "reason": "slow"}), "not compared (at most",
    ),
    "skipped definition": (
        _set(8, "metadata", {"tags": ["nbval-skip"], "reason": "slow"}), "server is used later",
    ),
    "solution without starter": (
        _set(6, "metadata", {"tags": ["exercise", "solution"]}), "without a starter",
    ),
    "no question": (_set(0, "source", "# It works\n- a\n- b\n5 minutes. Cost: free"), "question"),
    "no points": (_set(0, "source", "# Works?\n5 minutes. Cost: free"), "2 to 4 points"),
    "no minutes": (_set(0, "source", "# Works?\n- a\n- b\nCost: free"), "how many minutes"),
    "no cost": (_set(0, "source", "# Works?\n- a\n- b\n5 minutes"), "Cost: free"),
    "no parameters": (_set(1, "metadata", {}), "`parameters`"),
    "one exercise": (_set(4, "metadata", {}), "tagged `exercise`"),
    "no clean-up": (_set(9, "metadata", {}), "no `cleanup`"),
    "no recap": (_set(10, "source", "Bye"), "what you can do now"),
    "no recall": (_set(10, "source", "## What you can do now"), "three questions"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_rules_catch(fault):
    spoil, expected = FAULTS[fault]
    notebook = copy.deepcopy(good_notebook())
    spoil(notebook)
    if fault == "three in a row":
        notebook["cells"][3].update(execution_count=3, outputs=[])
    assert any(expected in problem for problem in all_problems(notebook)), all_problems(notebook)


@pytest.mark.parametrize(
    "text",
    ["serve --port 8000", "recorded on A10, 2026-11-20, vLLM 0.32", "1/2 and yes/no", "$KIT/x"],
)
def test_the_rules_allow(text):
    notebook = good_notebook()
    _says(text)(notebook)
    assert all_problems(notebook) == []


def test_an_exercise_hides_the_answer_and_keeps_the_rest():
    made = rules.exercise_from(good_notebook())
    assert made["cells"][6]["source"] == "answer = 0"
    assert made["cells"][6]["metadata"] == {"tags": ["exercise"]}
    assert made["cells"][2]["outputs"] == [] and made["cells"][2]["execution_count"] is None


def conftest_of_the_notebooks() -> Any:
    spec = importlib.util.spec_from_file_location("nb_conftest", rules.NOTEBOOKS / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_cells_that_are_run_alone_exist():
    for notebook, wanted in conftest_of_the_notebooks().MEASURES_ALONE.items():
        for path in (path for path in ALL if path.name == notebook):
            assert wanted <= {cell["id"] for cell in read(path)["cells"]}, name(path)


def test_a_cell_that_measures_runs_alone_and_is_not_kept_waiting(tmp_path):
    """Two others go in and out for ever, overlapping; it gets in, and nobody is in beside it."""
    inside, seen, over = set(), [], threading.Event()
    side_by_side = conftest_of_the_notebooks().side_by_side

    def other(number):
        while not over.is_set():
            with side_by_side(tmp_path, alone=False):
                inside.add(number)
                time.sleep(0.03)
                inside.discard(number)

    others = [threading.Thread(target=other, args=(number,)) for number in range(2)]
    for thread in others:
        thread.start()
    try:
        for _ in range(5):
            with side_by_side(tmp_path, alone=True):
                seen += [set(inside), time.sleep(0.05), set(inside)]
    finally:
        over.set()
        for thread in others:
            thread.join(timeout=30)
    assert seen == [set(), None, set()] * 5


def test_a_lesson_and_its_solution_are_run_by_one_worker(server, tmp_path):
    """Side by side they would share the servers that they start, and stop them for each other."""
    notebooks = tmp_path / "notebooks"
    (notebooks / "solutions").mkdir(parents=True)
    shutil.copy(rules.NOTEBOOKS / "conftest.py", notebooks)
    cells = [nbformat.v4.new_code_cell("1") for _ in range(3)]
    for lesson in ("00.ipynb", "01.ipynb", "02.ipynb"):
        for folder in (notebooks, notebooks / "solutions"):
            nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / lesson)
    words = ["-v", "--nbval-lax", "--nbval-current-env", "-n", "2", "-c", os.devnull, notebooks]
    environment = {"RERANK_PROFILE": "remote", "RERANK_URL": server.url, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], capture_output=True, text=True, timeout=300,
        env=os.environ | environment, cwd=notebooks,
    )  # fmt: skip
    ran = re.findall(r"^\[(gw\d)\] .*PASSED (.*?)(\d\d)", done.stdout, re.MULTILINE)
    assert len(ran) == 18, done.stdout + done.stderr
    assert {worker for worker, _, _ in ran} == {"gw0", "gw1"}
    for lesson in ("00", "01", "02"):
        mine = [(worker, folder) for worker, folder, number in ran if number == lesson]
        assert len({worker for worker, _ in mine}) == 1, done.stdout
        assert len([1 for a, b in zip(mine, mine[1:], strict=False) if a != b]) == 1, "in turn"
