"""The short form of scripts/soak_client.py: one kill under load. The whole one is a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "soak_client.py"


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_a_kill_under_load_loses_doubles_and_mixes_nothing(tmp_path: Path) -> None:
    words = ["--requests", "500", "--clients", "16", "--kills", "1", "--limit-seconds", "1000"]
    command = [sys.executable, str(SCRIPT), *words, "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text("utf-8"))
    assert (figures["kills"], figures["answered"]) == (1, 500)
    assert figures["retried"] > 0, "the kill went by unseen"
