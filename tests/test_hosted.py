"""Colab and Kaggle, without either: what would be run there, and the badges of a public copy."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import badges
import hosted_setup
import notebook_rules
import pytest
import translate_notebooks
from set_up.choice import choose_build
from set_up.machine import Driver, Machine

from rerank_kit.money.providers import provider_here

ADDRESS = "https://github.com/owner/course-name"


def test_the_build_there_follows_the_driver_and_leaves_jupyter_alone() -> None:
    t4 = Machine(driver=Driver("550.54.15", ("Tesla T4",), ("7.5",)))
    _, install = hosted_setup.commands(choose_build(t4), "/usr/bin/python3")
    assert install[-1].endswith("[gpu-cuda12,search]") and "/usr/bin/python3" in install
    assert "--overrides" not in install
    _, install = hosted_setup.commands(choose_build(Machine()), "python")
    assert install[-1].endswith("[cpu,search]") and "--overrides" in install
    for word in install:
        assert not word.endswith(".txt") or Path(word).is_file()


@pytest.mark.parametrize(
    ("sign", "name", "provider"),
    [
        ("COLAB_RELEASE_TAG", "Google Colab", "colab"),
        ("KAGGLE_KERNEL_RUN_TYPE", "Kaggle", "kaggle"),
    ],
)
def test_it_knows_where_it_is(sign: str, name: str, provider: str) -> None:
    assert hosted_setup.where({sign: "x"}) == name and hosted_setup.where({}) == ""
    found = provider_here({sign: "x"})
    assert found is not None and found.name == provider


def test_a_public_copy_gets_badges_and_stays_a_good_course(tmp_path: Path) -> None:
    copy = tmp_path / "notebooks"
    shutil.copytree(notebook_rules.NOTEBOOKS, copy, ignore=shutil.ignore_patterns(".ipynb_*"))
    before = {path: json.loads(path.read_text(encoding="utf-8")) for path in badges.lessons(copy)}
    assert len(before) > 25
    run(copy, "--repository", f"{ADDRESS}.git")
    for path in before:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert "badges" not in {cell["id"] for cell in before[path]["cells"]}
        text = notebook_rules.source_of(notebook["cells"][2])
        place = f"owner/course-name/blob/main/notebooks/{path.relative_to(copy)}"
        assert f"https://colab.research.google.com/github/{place})" in text
        assert f"welcome?src=https://github.com/{place})" in text
        if "zh-CN" not in path.parts:
            assert notebook_rules.source_problems(notebook) == []
            assert notebook_rules.lesson_problems(notebook) == []
        texts = [one.cell for one in translate_notebooks.passages_of(notebook)]
        assert "badges" not in texts
    assert "0 notebooks" in run(copy, "--repository", ADDRESS)
    run(copy, "--remove")
    after = {path: json.loads(path.read_text(encoding="utf-8")) for path in before}
    assert [[cell["id"] for cell in one["cells"]] for one in after.values()] == [
        [cell["id"] for cell in one["cells"]] for one in before.values()
    ]


def run(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, badges.__file__, "--notebooks", str(folder), *words],
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_address_is_not_made_up(tmp_path: Path) -> None:
    if not badges.address_of_the_project():
        done = subprocess.run([sys.executable, badges.__file__], capture_output=True, text=True,
                              timeout=300)  # fmt: skip
        assert done.returncode == 1 and "no public address" in done.stdout
    done = subprocess.run([sys.executable, badges.__file__, "--repository", "https://x.example/a"],
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 2
