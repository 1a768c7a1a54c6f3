"""Checkpoints whose output head is broken load without an error; a launch tells by known scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import broken_checkpoints
import pytest
from processes import clean

from rerank_kit import errors, launch
from rerank_kit.samples import KNOWN_DOCUMENTS, KNOWN_QUERY
from rerank_kit.server.readiness import _last_flag


@pytest.mark.parametrize(
    ("words", "found"),
    [((), None), (("--dtype", "half"), "half"), (("--dtype=half", "--dtype", "float32"), "float32"),
     (("--other", "--dtype"), ""), (("--dtypes", "x"), None)],
)  # fmt: skip
def test_the_precision_that_the_user_passed_on_is_the_one_that_counts(
    words: tuple[str, ...], found: str | None
) -> None:
    assert _last_flag(SimpleNamespace(extra_args=words), "--dtype") == found


@pytest.mark.full
@pytest.mark.parametrize("make", broken_checkpoints.BROKEN.values(), ids=broken_checkpoints.BROKEN)
def test_live_a_broken_head_is_found_at_launch_and_nothing_is_left(
    own_state: Path, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    folder = make(tmp_path / "checkpoint")
    with pytest.raises(errors.LaunchError) as caught:
        launch("practice", model=str(folder))
    said = str(caught.value)
    assert "scores are wrong" in said and "head" in said, said
    assert "0.500" in caught.value.evidence
    assert clean(own_state)


@pytest.mark.full
def test_live_an_untied_head_that_the_configuration_denies_is_served_rightly(
    own_state: Path, tmp_path: Path
) -> None:
    folder = broken_checkpoints.head_denied(tmp_path / "checkpoint")
    with launch("practice", model=str(folder)) as server:  # the known answer is checked
        right, wrong = server.reranker().score([(KNOWN_QUERY, text) for text in KNOWN_DOCUMENTS])
    assert right > 0.9 and wrong < 0.1
