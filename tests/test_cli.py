"""The commands as a person or a script uses them, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import clean, cli

from rerank_kit import Server
from rerank_kit.samples import SAMPLES

SAMPLE = SAMPLES[0]
COMMANDS = (
    "check", "plan", "launch", "status", "logs", "stop", "rank", "score", "search", "evaluate",
    "judge",
    "doctor", "diagnose", "demo", "bench", "tune", "forms", "budget", "tunnel", "proxy",
)  # fmt: skip


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.txt"
    path.write_text("\n".join(SAMPLE.documents) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(command: str) -> None:
    done = cli(command, "--help")
    assert done.returncode == 0 and "--json" in done.stdout


def test_check_reports_in_lines_and_as_json() -> None:
    done = cli("check", "--json")
    found = json.loads(done.stdout)
    assert found["ok"] == (done.returncode == 0)
    assert {finding["id"] for finding in found["findings"]} >= {"python", "vllm", "memory", "disk"}
    assert all(line.startswith(("[", " ")) for line in cli("check").stdout.splitlines())


def test_rank_prints_a_table_and_json(server: Server, documents: Path) -> None:
    words = ("rank", "--query", SAMPLE.query, "--documents", str(documents))
    table = cli(*words, "--top-n", "2")
    assert table.returncode == 0, table.stderr
    assert SAMPLE.documents[SAMPLE.best] in table.stdout.splitlines()[3]
    result = json.loads(cli(*words, "--json").stdout)
    assert [row["index"] for row in result["results"]][0] == SAMPLE.best
    assert set(result["results"][0]) == {"index", "score", "text"}


def test_rank_reads_stdin_paragraphs_and_json_lines(server: Server, tmp_path: Path) -> None:
    rank = [sys.executable, "-m", "rerank_kit", "rank", "--query", "b", "--json"]
    piped = subprocess.run(
        [*rank, "--documents", "-"], input="a\n\nb\n", capture_output=True, text=True, timeout=300
    )
    assert len(json.loads(piped.stdout)["results"]) == 2
    parts = tmp_path / "parts.txt"
    parts.write_text("one\nstill one\n\n \ntwo\n", encoding="utf-8")
    split = cli(*rank[3:], "--documents", str(parts), "--paragraphs")
    assert {row["text"] for row in json.loads(split.stdout)["results"]} == {
        "one\nstill one", "two"
    }  # fmt: skip
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"text": "x", "id": "k1"}\n{"text": "y"}\n', encoding="utf-8")
    rows = json.loads(cli(*rank[3:], "--documents", str(lines)).stdout)["results"]
    assert {row.get("id") for row in rows} == {"k1", None}


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("missing.txt", None, "does not exist"),
        ("empty.txt", b"", "it is empty"),
        ("blank.txt", b"\n \n", "it is empty"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8 text"),
        ("zero.txt", b"a\x00b", "not a text file"),
        ("gbk.txt", "中文文档".encode("gbk"), "not UTF-8 text"),
        ("bad.jsonl", b'{"text": "a"}\n{broken\n', "Line 2"),
        ("notext.jsonl", b'{"text": "a"}\n{"body": "b"}\n', 'Line 2 .*no "text"'),
    ],
)
def test_files_that_are_no_documents(
    server: Server, tmp_path: Path, name: str, data: bytes | None, says: str
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    done = cli("rank", "--query", "q", "--documents", str(path))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(says, done.stderr), done.stderr
    kind = json.loads(cli("rank", "--query", "q", "--documents", str(path), "--json").stdout)
    assert set(kind["error"]) >= {"kind", "message", "hint"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["rank", "--query", "q"], 2),
        (["no-such-command"], 2),
        (["rank", "--query", " ", "--documents", "x"], 2),
        (["launch", "--port", "99999"], 2),
        (["launch", "--port", "seven"], 2),
        (["launch", "--profile", "fast"], 2),
        (["launch", "--model", "no such model"], 2),
        (["launch", "--profile", "practice", "--model", "/does/not/exist"], 2),
        (["doctor", "--url", "http://127.0.0.1:1"], 1),
        (["doctor", "--url", "htp:/typo"], 2),
        (["diagnose", "/does/not/exist.log"], 2),
    ],
)
def test_wrong_usage_ends_in_one_sentence(words: list[str], code: int) -> None:
    done = cli(*words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stderr + done.stdout).strip(), "it failed without a word"


def test_doctor_passes_the_practice_server(server: Server) -> None:
    done = cli("doctor", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["ok"] is True


def test_print_shows_a_command_and_starts_nothing(own_state: Path) -> None:
    done = cli("launch", "--profile", "practice", "--print", "--", "--max-num-seqs", "9")
    assert "vllm serve" in done.stdout and "--max-num-seqs 9" in done.stdout
    assert clean(own_state)


@pytest.mark.slow
def test_launch_status_rank_logs_stop_from_a_terminal(own_state: Path, documents: Path) -> None:
    launched = json.loads(cli("launch", "--profile", "practice", "--json").stdout)
    assert set(launched) >= {"url", "pid", "profile", "model", "state", "log_path"}
    assert launched["state"] == "ready"
    status = json.loads(cli("status", "--json").stdout)
    assert (status["pid"], status["state"]) == (launched["pid"], "ready")
    ranked = cli("rank", "--query", SAMPLE.query, "--documents", str(documents), "--json")
    assert json.loads(ranked.stdout)["results"][0]["index"] == SAMPLE.best
    assert json.loads(cli("logs", "--json", "--lines", "5").stdout)["lines"]
    stopped = cli("stop")
    assert stopped.returncode == 0 and "free" in stopped.stdout
    assert clean(own_state)
    assert cli("status").returncode == 1
    assert "nothing of ours" in cli("stop").stdout


@pytest.mark.full
def test_demo_ranks_and_leaves_nothing(own_state: Path) -> None:
    done = cli("demo", "--profile", "practice")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(sample.query in done.stdout for sample in SAMPLES)
    assert clean(own_state)


def test_a_log_can_be_diagnosed_from_a_pipe() -> None:
    log = "ERROR 11-20 10:00:00 [core.py:1] ValueError: No available memory for the cache blocks. "
    log += "Try increasing `gpu_memory_utilization` when initializing the engine.\n"
    command = [sys.executable, "-m", "rerank_kit", "diagnose", "-", "--json"]
    done = subprocess.run(command, input=log, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and json.loads(done.stdout)["family"] == "kv_cache_too_small"


def test_a_reader_that_stops_reading_is_no_error() -> None:
    """`rerank-kit plan ... | head` ended in a traceback."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "rerank_kit", "plan", "--gpu", "T4"], stdout=theirs,
        stderr=subprocess.PIPE, text=True, timeout=300,
    )  # fmt: skip
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, "")
