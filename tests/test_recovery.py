"""Real failures, provoked, diagnosed, fixed and running: each on a real vLLM."""

from __future__ import annotations

import doctest
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from processes import clean

from rerank_kit import errors, launch
from rerank_kit.server import provoke, recovery, stalls
from rerank_kit.server.provoke import circumstances
from rerank_kit.server.provoke.outcome import LeftOut


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("cache too small", "with --kv-cache-memory-bytes"),
        ("quantisation not supported", "without --quantization"),
        ("main memory", "with --kv-cache-memory-bytes"),
        ("container's memory", "with --kv-cache-memory-bytes"),
        ("context too long", "with --max-model-len"),
    ],
)
def test_a_setting_that_cannot_work_is_cured_and_remembered(
    own_state: Path, name: str, cure: str
) -> None:
    outcome = provoke.provoke(name)
    if outcome.left_out:
        pytest.skip(outcome.left_out)
    assert outcome.good and outcome.running, str(outcome)
    assert outcome.evidence and len(outcome.remedies) == 1
    assert f"trying again {cure}" in outcome.remedies[0]
    assert json.loads((own_state / "remedies.json").read_text(encoding="utf-8"))
    assert clean(own_state)


@pytest.mark.full
@pytest.mark.parametrize("name", ["bad path", "stuck", "too many parts"])
def test_a_provoked_failure_is_found_and_leaves_nothing(own_state: Path, name: str) -> None:
    outcome = provoke.provoke(name, mend=False)
    if outcome.left_out:
        pytest.skip(outcome.left_out)
    assert outcome.good and not outcome.running, str(outcome)
    assert clean(own_state)


@pytest.mark.full
def test_a_killed_worker_is_found_and_the_server_runs_again(own_state: Path) -> None:
    """Story: the log's only cause is "died unexpectedly", and it was called unknown."""
    outcome = provoke.provoke("worker killed")
    assert not outcome.left_out
    assert outcome.good and outcome.running, str(outcome)
    assert outcome.confidence == "likely" and outcome.fixes
    assert clean(own_state)


@pytest.mark.full
def test_a_full_disk_is_said_before_anything_starts(own_state: Path) -> None:
    outcome = provoke.provoke("disk full", mend=False)
    if outcome.left_out:
        pytest.skip(outcome.left_out)
    assert outcome.family == "disk_full" and "No space left" in outcome.evidence


@pytest.mark.full
def test_a_failure_that_no_setting_cures_is_said_once(own_state: Path) -> None:
    with pytest.raises(errors.LaunchError, match="command line is wrong"):
        launch("practice", extra_args=("--no-such-flag",), recover=True)
    assert clean(own_state)


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_a_handful_of_soak_rounds_is_clean(tmp_path: Path) -> None:
    """The quick ways to break a server's life, one round each."""
    report = tmp_path / "soak.json"
    done = subprocess.run(
        [sys.executable, "scripts/soak_lifecycle.py", "--short", "--json", str(report)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=1100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rounds = json.loads(report.read_text(encoding="utf-8"))["rounds"]
    assert len(rounds) >= 6 and not any(one["problems"] for one in rounds)


GREEDY = "input()\nx = bytearray(900_000_000)\nfor i in range(0, len(x), 4096): x[i] = 1"


def test_a_control_group_limits_what_is_put_into_it_and_is_gone_afterwards() -> None:
    """And nobody else: this process was in the group once, was its largest, and was killed."""
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    child = subprocess.Popen([sys.executable, "-c", GREEDY], stdin=subprocess.PIPE, text=True)
    try:
        with circumstances.limited_group(0.4) as group:
            circumstances.enter(group, child.pid)
            inside = Path(f"/proc/{child.pid}/cgroup").read_text(encoding="utf-8")
            child.communicate("go\n", timeout=300)
            assert Path("/proc/self/cgroup").read_text(encoding="utf-8") == own != inside
    except LeftOut as reason:
        pytest.skip(str(reason))
    finally:
        child.kill()
        child.wait()
    assert child.returncode == -signal.SIGKILL
    for place in (circumstances.CGROUPS, circumstances.CGROUPS / "memory"):
        assert not (place / f"rerank-kit-{os.getpid()}").exists()


def test_every_provocation_has_a_name_and_a_family_that_exist() -> None:
    from rerank_kit.server.signatures import catalogue

    names = [one.name for one in provoke.PROVOCATIONS]
    assert len(names) == len(set(names))
    for one in provoke.PROVOCATIONS:
        assert set(one.expected) <= set(catalogue().families)
    with pytest.raises(errors.InputError, match="no known provocation"):
        provoke.provoke("an earthquake")


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(recovery).failed == 0
    assert doctest.testmod(stalls).failed == 0
