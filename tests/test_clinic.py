"""The clinic of notebook 09: every family has a patient, and each is diagnosed as what it has."""

from __future__ import annotations

import re

import pytest

from rerank_kit.server.clinic import Case, all_cases, cases, without_stamps
from rerank_kit.server.diagnosis import diagnose
from rerank_kit.server.signatures import catalogue


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: f"{case.group}-{case.family}")
def test_a_patient_is_diagnosed(case: Case) -> None:
    found = diagnose(case.lines)
    assert found.family == case.family, str(found)
    if case.family not in ("none", "unknown"):
        assert found.fixes and found.evidence


def test_every_family_has_a_patient() -> None:
    taught = {case.family for case in all_cases() if case.group not in ("exam", "long")}
    assert taught == set(catalogue().families)
    assert len(cases("memory")) == 6


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: f"{case.group}-{case.family}")
def test_what_is_shown_is_short_and_keeps_the_cause(case: Case) -> None:
    shown = case.excerpt
    assert len(shown.splitlines()) <= 40 and max(map(len, shown.splitlines())) <= 76
    assert not re.search(r"pid|\d\d:\d\d:\d\d", shown)
    for item in diagnose(case.lines).evidence:
        words = without_stamps(case.lines[item.line - 1]).split()
        assert " ".join(words) in " ".join(shown.split()), item
