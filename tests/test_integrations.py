"""Other people's clients against the live server: those that are small enough for this suite.

scripts/test_integrations.sh has all of them, each in an environment of its own (1.1 GB together).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rerank_kit import Server

FOLDER = Path(__file__).parent / "integrations"


def _results(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line)["result"] for line in done.stdout.splitlines() if line[:1] == "{"]


def test_the_openai_sdk_that_vllm_brings(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "try_openai.py"],
        env=dict(os.environ, RERANK_URL=server.url, PYTHONPATH=str(FOLDER)),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert _results(done) == ["ok", "ok"]


@pytest.mark.full
@pytest.mark.timeout(900)
def test_small_clients_in_environments_of_their_own(server: Server, tmp_path: Path) -> None:
    """LangChain (our own compressor), Cohere's SDK in both generations, AnswerDotAI's rerankers,
    and vllm-router between our client and the server."""
    names = ("langchain", "cohere", "rerankers", "vllm-router")
    chosen = [word for name in names for word in ("--only", name)]
    table = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, FOLDER / "run.py", "--url", server.url, "--json", table, *chosen],
        capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(table.read_text(encoding="utf-8"))
    assert len(results) == 12 and {line["result"] for line in results} == {"ok"}, done.stdout
