"""Real failures, provoked, diagnosed, fixed and running: each on a real vLLM."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from processes import clean

from rerank_kit import errors, launch
from rerank_kit.server import recovery


@pytest.mark.full
@pytest.mark.parametrize(
    ("flags", "cure"),
    [
        (("--kv-cache-memory-bytes", "1000000"), "--kv-cache-memory-bytes"),
        (("--max-model-len", "9999999"), "--max-model-len"),
    ],
)
def test_a_setting_that_cannot_work_is_cured_and_remembered(
    own_state: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], cure: str
) -> None:
    with pytest.raises(errors.LaunchError) as caught:
        launch("practice", extra_args=flags)
    assert caught.value.diagnosis.confidence != "unknown" and caught.value.evidence
    with launch("practice", extra_args=flags, recover=True) as cured:
        assert cured.reranker().score([("a", "b")])
    said = capsys.readouterr().err
    assert f"trying again with {cure}" in said
    assert (own_state / "remedies.json").exists()
    assert clean(own_state)


@pytest.mark.full
def test_a_failure_that_no_setting_cures_is_said_once(own_state: Path) -> None:
    with pytest.raises(errors.LaunchError, match="command line is wrong"):
        launch("practice", extra_args=("--no-such-flag",), recover=True)
    assert clean(own_state)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(recovery).failed == 0
