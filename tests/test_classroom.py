"""A class of thirty on one server: keys that nobody else can read, and a load that was tried."""

from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from processes import clean, cli

from rerank_kit import Reranker, Server, errors

SCRIPT = Path(__file__).parent.parent / "scripts" / "classroom.py"


def classroom(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, timeout=300,
        env=os.environ | environment,
    )  # fmt: skip


def seats_of(folder: Path) -> list[str]:
    with (folder / "seats.csv").open(encoding="utf-8") as file:
        return [row["RERANK_API_KEY"] for row in csv.DictReader(file)]


def test_every_seat_gets_a_key_that_nobody_else_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "class"
    done = classroom("keys", "--seats", "30", "--folder", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    keys = seats_of(folder)
    assert len(set(keys)) == 30
    assert not any(key in done.stdout for key in keys)
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    again = classroom("keys", "--folder", str(folder))
    assert again.returncode == 1
    assert "exists" in again.stdout
    assert seats_of(folder) == keys


def test_no_key_can_be_taken_for_an_option(tmp_path: Path) -> None:
    """vLLM makes command line arguments of its configuration file: --api-key -abc is an error."""
    done = classroom("keys", "--seats", "1000", "--folder", str(tmp_path / "class"))
    assert done.returncode == 0, done.stdout + done.stderr
    keys = seats_of(tmp_path / "class")
    assert len(set(keys)) == 1000
    assert [key for key in keys if not key.isalnum()] == []


def test_the_chinese_page_finds_the_trial(server: Server, tmp_path: Path) -> None:
    """It lies one folder deeper than the English page, with the same code."""
    chinese = SCRIPT.parent.parent / "notebooks" / "zh-CN"
    page = json.loads((chinese / "index.ipynb").read_text(encoding="utf-8"))
    code = {cell["id"]: "".join(cell["source"]) for cell in page["cells"]}
    cells = tmp_path / "cells.py"
    cells.write_text(f"{code['launch']}\n{code['try']}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(cells)], cwd=chinese, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parent.parent)},
    )  # fmt: skip
    assert done.stdout == "30 rankings answered, 0 errors\n", done.stderr


def test_thirty_seats_rank_at_once(server: Server) -> None:
    done = classroom("try", "--seats", "30", "--url", server.url, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert (figures["errors"], figures["rankings"]) == ([], 90)


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    done = classroom("try", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "127.0.0.1:9" in done.stdout


@pytest.mark.full
def test_a_class_shares_a_server_with_a_key_for_each(own_state: Path, tmp_path: Path) -> None:
    folder = tmp_path / "class"
    assert classroom("keys", "--seats", "3", "--folder", str(folder)).returncode == 0
    teacher = (folder / "teacher.env").read_text("utf-8").strip().partition("=")[2]
    words = ["launch", "--profile", "practice", "--json", "--", "--config"]
    with_key = os.environ | {"RERANK_API_KEY": teacher}
    started = cli(*words, str(folder / "vllm.yaml"), env=with_key)
    assert started.returncode == 0, started.stdout + started.stderr
    url = json.loads(started.stdout)["url"]
    for key in (teacher, *seats_of(folder)):
        assert len(Reranker(url, api_key=key).rank("tea", ["a cup", "a train"])) == 2
    with pytest.raises(errors.RerankKitError, match="refuses the key"):
        Reranker(url, api_key="not-a-seat").rank("tea", ["a cup"])
    tried = classroom("try", "--seats", "3", "--url", url, RERANK_API_KEY=teacher)
    assert tried.returncode == 0, tried.stdout
    assert cli("stop").returncode == 0
    assert clean(own_state)
