"""Shared by all tests: a state folder of their own, and ONE practice server for the session."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before rerank_kit is used: test servers must not be mistaken for the user's own. Who works on
# the tests may keep a server between runs (CONTRIBUTING.md) and names its state folder.
os.environ["RERANK_KIT_STATE_DIR"] = os.environ.get("RERANK_KIT_TESTS_STATE_DIR") or (
    tempfile.mkdtemp(prefix="rerank-kit-tests-")
)
for name in (
    "RERANK_URL", "RERANK_API_KEY", "RERANK_KIT_LANGUAGE", "PYTHONDONTWRITEBYTECODE"
):  # fmt: skip
    os.environ.pop(name, None)
# The offline switches that the practice profile uses, for the transformers oracle as well.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from rerank_kit import Reranker, Server, launch, registry  # noqa: E402
from rerank_kit.models import practice_model_dir  # noqa: E402
from rerank_kit.server.server import stop_record  # noqa: E402

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent))

# A busy machine is no fault (by default 0.2 s for an example is one), and what was green stays
# green: the same examples each time. To look for new ones: --hypothesis-profile explore.
STEADY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("explore", **STEADY)
settings.register_profile("steady", derandomize=True, **STEADY)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The live practice server, started when the first test asks for it."""
    running = launch("practice")
    yield running
    report = running.stop()
    assert not report.survivors, report.details


@pytest.fixture(scope="session")
def reranker(server: Server) -> Reranker:
    return server.reranker()


@pytest.fixture
def rank(reranker: Reranker) -> object:
    """The Rank panel, without a browser."""
    from rerank_kit import panels

    return panels.rank(reranker)


@pytest.fixture(scope="session")
def oracle() -> object:
    """The official recipe, run with transformers in float32 on the practice model."""
    from official_recipe import OfficialRecipe

    return OfficialRecipe(practice_model_dir())


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that log in to a real sshd of their own (login_server.py)."""
    from login_server import new_keys

    return new_keys(tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of one test's own: its servers are strangers to the session's. A test that
    fails half-way leaves none of them behind."""
    monkeypatch.setenv("RERANK_KIT_STATE_DIR", str(tmp_path / "state"))
    yield tmp_path / "state"
    for record in registry.living():
        if record.pid != os.getpid():
            stop_record(record)
