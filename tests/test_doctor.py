"""The doctor finds nothing wrong with a healthy server, and names every fault of wrong ones."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mislaunched
import pytest
from hostile_peers import HTML, peer
from processes import cli

from rerank_kit import Examination, Server, examine, versions
from rerank_kit.doctor import exposure_checks, known_bugs, parity, prompt_checks, score_checks
from rerank_kit.doctor.known_pairs import identify
from rerank_kit.doctor.patient import Pair, Patient
from rerank_kit.errors import InputError
from rerank_kit.machine import free_port
from rerank_kit.models import practice_model_dir

EVERYTHING = {
    "reachable", "version", "reranks", "official_prompt", "instruction", "control_tokens",
    "activation", "scores", "yes_no_order", "known_pairs", "precision", "context_length",
    "truncation", "address", "access",
}  # fmt: skip


def test_a_healthy_server_has_no_findings(server: Server) -> None:
    found = examine(server.url)
    assert {finding.id for finding in found.findings} == EVERYTHING
    assert all(finding.status == "ok" for finding in found.findings), str(found)
    assert "\n" not in "".join(finding.detail for finding in found.findings)


def test_the_practice_model_is_known_by_its_vocabulary_not_by_its_name(server: Server) -> None:
    patient = Patient(server.reranker().transport)
    patient.card["id"] = "Qwen/Qwen3-Reranker-0.6B"
    assert identify(patient).family == "practice" and identify(patient).recorded


def test_nothing_there() -> None:
    found = examine(f"http://127.0.0.1:{free_port()}")
    assert found.faults == ("reachable",)


@pytest.mark.parametrize(("status", "body"), [(200, HTML), (404, b'{"detail":"Not Found"}')])
def test_something_else_is_there(status: int, body: bytes) -> None:
    with peer(status, body) as url:
        found = examine(url)
    assert not found.ok and "\n" not in found.findings[0].detail


def test_every_fix_says_what_it_costs_and_what_to_change() -> None:
    found = examine(f"http://127.0.0.1:{free_port()}")
    for finding in found.findings:
        assert finding.cost and finding.fix
    assert "costs:" in str(found) and "->" in str(found)


@pytest.mark.parametrize(
    ("release", "bugs"),
    [("0.32.0", 0), ("0.22.1", 0), ("0.20.0", 1), ("0.19.1", 1), ("0.11.1", 2), ("0.11.2", 1),
     ("0.8.5.post1", 1), ("dev", 0)],
)  # fmt: skip
def test_releases_with_known_bugs(release: str, bugs: int) -> None:
    assert len(known_bugs.bugs_of(release)) == bugs


def test_what_the_doctor_says_of_a_version_is_what_the_table_of_versions_holds() -> None:
    for row in versions.table():
        said = " ".join(bug.effect for bug in known_bugs.bugs_of(row.version))
        assert ("ignored in silence" in said) == (row.prompt == versions.BY_MARKED_QUERY)
        assert ("must come formatted" in said) == (row.prompt == versions.BY_CLIENT)
        assert ("cannot give the official" in said) == (row.prompt == versions.REFUSED)
    assert versions.facts_of(known_bugs.TESTED).was_run


def test_where_a_listener_is() -> None:
    with socket.socket() as narrow, socket.socket() as wide:
        narrow.bind(("127.0.0.1", 0))
        wide.bind(("0.0.0.0", 0))
        for one in (narrow, wide):
            one.listen()
        seen = [
            exposure_checks.locate(f"http://127.0.0.1:{one.getsockname()[1]}")
            for one in (narrow, wide)
        ]
    assert [(place.side, place.open) for place in seen] == [("here", False), ("here", True)]
    assert exposure_checks.locate("http://192.0.2.1:8000").side == "elsewhere"  # RFC 5737: nobody


def test_the_verdict_on_scores_beside_the_official_ones() -> None:
    right = [0.9, 0.5, 0.1]
    assert parity.compared([0.90001, 0.5, 0.1], right).status == "ok"
    assert "half precision" in parity.compared([0.91, 0.5, 0.1], right).detail
    wrong = parity.compared([0.1, 0.5, 0.9], right)
    assert wrong.status == "fix" and wrong.cost.startswith("100.0 %")


def test_a_folder_that_is_no_model(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config.json"):
        examine(server.url, model_dir=tmp_path)


@pytest.mark.slow
def test_full_parity_with_transformers(server: Server) -> None:
    done = cli("doctor", "--url", server.url, "--model-dir", str(practice_model_dir()), "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and answer["ok"], done.stdout
    [found] = [one for one in answer["findings"] if one["id"] == "parity"]
    assert found["status"] == "ok" and "the official scores" in found["detail"]


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Examination]:
    """Every server of mislaunched.py, started once, two at a time."""
    return mislaunched.examine_all(mislaunched.EVERY, tmp_path_factory.mktemp("mislaunched"))


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("launch", mislaunched.EVERY, ids=lambda one: one.name)
def test_every_fault_is_named_and_nothing_else(
    launch: mislaunched.Launch, examined: dict[str, Examination]
) -> None:
    found = examined[launch.name]
    assert set(found.faults) == launch.faults, str(found)
    for identifier in found.faults:
        assert found[identifier].cost and found[identifier].fix


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "identifier", "words"),
    [
        ("template one newline short", "official_prompt", "one newline short"),
        ("two newlines between fields", "official_prompt", "trained with one"),
        ("template only in the tokenizer", "official_prompt", "no chat template is used"),
        ("no template", "official_prompt", "glued together"),
        ("no overrides", "reranks", "embeddings"),
        ("generate runner", "reranks", "text generator"),
        ("swapped classifier tokens", "yes_no_order", "swapped"),
        ("bfloat16", "precision", "half precision"),
        ("key, open to all", "access", "/rerank"),
    ],
)
def test_the_cause_is_named(
    name: str, identifier: str, words: str, examined: dict[str, Examination]
) -> None:
    assert words in examined[name][identifier].detail


class Restless(Patient):
    """The server's own scores, no two of them alike: float32 was seen to move a score by up to
    1e-6 with the batch that it was in, and with what the cache held."""

    asked = 0

    def _score(self, pairs: Sequence[Pair], **fields: Any) -> tuple[list[float], int | None]:
        scores, count = super()._score(pairs, **fields)
        self.asked += 1
        return [score + 2e-7 * (self.asked + at) for at, score in enumerate(scores)], count


def test_the_last_digit_of_a_score_is_no_finding(server: Server) -> None:
    patient = Restless(server.reranker().transport)
    model = identify(patient)
    for check in (prompt_checks.control_tokens, score_checks.activation):
        finding = check(patient, model)
        assert finding.status == "ok", str(finding)
