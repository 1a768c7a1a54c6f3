"""What may leave a machine, and the rehearsal of the recording that a GPU owner is asked for."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import private_data
import pytest
from conftest import REPOSITORY

from rerank_kit import Server

PRIVATE = (
    "hf_abcdefghijklmnopqrstuvwx",
    "Authorization: Bearer 0123456789abcdef",
    "GPU-8f6d9a10-1b2c-3d4e-5f60-718293a4b5c6",
    "ssh 203.0.113.77 -p 22022",
    "write to someone@example.org",
    "/home/somebody/models/file.bin",
    "/Users/somebody/x",
)


@pytest.mark.parametrize("text", PRIVATE)
def test_private_data_is_found_and_taken_out(text: str) -> None:
    assert private_data.left_in(text)
    clean = private_data.without_private_data(text)
    assert not private_data.left_in(clean)
    assert private_data.without_private_data(clean) == clean


def test_this_machine_and_its_user_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-box-7")
    monkeypatch.setattr(getpass, "getuser", lambda: "wangfang")
    monkeypatch.setenv("RERANK_API_KEY", "a-very-secret-key")
    text = f"lab-box-7 wangfang a-very-secret-key {REPOSITORY}/scripts {Path.home()}/x"
    clean = private_data.without_private_data(text)
    assert clean == "HOST USER KEY PROJECT/scripts ~/x"


def test_harmless_lines_stay_as_they_are() -> None:
    for text in (
        "(EngineCore pid=25385) INFO 11-20 09:51:02 [kv_cache_utils.py:2327] GPU KV cache size",
        "Starting vLLM server on http://127.0.0.1:8000", "vllm 0.32.0, driver 580.65.06",
        "--served-model-name Qwen/Qwen3-Reranker-0.6B",
    ):  # fmt: skip
        assert private_data.without_private_data(text) == text


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_the_rehearsal_records_every_step_and_goes_on_where_it_was(
    server: Server, tmp_path: Path
) -> None:
    command = [
        sys.executable, str(REPOSITORY / "scripts" / "record_on_gpu.py"), "--profile", "practice",
        "--speed-seconds", "1", "--out", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(steps) == {
        "machine", "practice-start", "practice-scores", "practice-speed", "practice-out_of_memory"
    }  # fmt: skip
    assert steps["practice-start"]["plan"]["terms"]["kv_cache_gib"] > 0
    assert steps["practice-scores"]["ok"] is True
    assert steps["practice-speed"]["one_query_many_documents"][0]["pairs_per_second"] > 0
    assert steps["practice-out_of_memory"]["diagnosis"]["family"] == "kv_cache_too_small"
    with zipfile.ZipFile(tmp_path / "recording.zip") as bundle:
        assert sorted(bundle.namelist()) == sorted(f"{name}.json" for name in steps)
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and again.stdout.count("recorded before") == 5
