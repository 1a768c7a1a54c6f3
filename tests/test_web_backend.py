"""The small web back end, live: it recalls, reranks and answers, and gives nothing away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import requests
from processes import wait_until

from rerank_kit import Server
from rerank_kit.machine import free_port
from rerank_kit.registry import ServerRecord

TEXTS = (
    "Redis connection timeouts are usually fixed by raising the client timeout.",
    "Redis is an in-memory data store used as a cache and message broker.",
    "To fix a leaking tap, first turn off the water supply.",
    "如果数据库连接超时，请检查连接池配置和网络延迟",
)
REPOSITORY = Path(__file__).parent.parent
SECRET = "a-key-nobody-may-see"


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/search", timeout=5).status_code == 422
    except requests.RequestException:
        return False


@pytest.fixture(scope="module", params=["reranker", "nothing behind it"])
def backend(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """(address, the reranker's address): once with the live server, once with none."""
    behind = server.url if request.param == "reranker" else f"http://127.0.0.1:{free_port()}"
    folder = tmp_path_factory.mktemp("backend")
    corpus = folder / "corpus.jsonl"
    corpus.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")
    port = free_port()
    app = "rerank_kit.integrations.web_backend:app"
    environment = dict(os.environ, CORPUS=str(corpus), RERANK_URL=behind, RERANK_API_KEY=SECRET)
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port)],
            env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url) or child.poll() is not None, 180)
        assert child.poll() is None, (folder / "log").read_text()
        yield url, behind
        log = (folder / "log").read_text()
        assert ("Nothing answers at" in log) == (request.param != "reranker")
        assert SECRET not in log
    finally:
        child.terminate()
        child.wait(180)


def _search(url: str, query: str) -> requests.Response:
    return requests.get(f"{url}/search", params={"query": query}, timeout=60)


def test_it_answers_in_two_languages_or_says_it_cannot(backend: tuple[str, str]) -> None:
    url, behind = backend
    answer = _search(url, "how to fix redis connection timeout")
    if requests_fail(behind):
        assert answer.status_code == 502
        assert answer.json() == {"detail": "ranking is not available now"}
    else:
        found = answer.json()
        assert found[0]["text"] == TEXTS[0] and 0 <= found[0]["score"] <= 1
        assert TEXTS[3] not in [one["text"] for one in found], "no word of it was recalled"
        assert _search(url, "数据库连接超时怎么办").json()[0]["text"] == TEXTS[3]


def requests_fail(url: str) -> bool:
    try:
        return not requests.get(f"{url}/health", timeout=5).ok
    except requests.RequestException:
        return True


def test_it_gives_nothing_away_and_takes_nothing_but_a_query(backend: tuple[str, str]) -> None:
    url, behind = backend
    said = []
    for path in ("/", "/docs", "/openapi.json", "/v1/models", "/rerank", "/metrics", "/tokenize"):
        answer = requests.get(url + path, timeout=10)
        assert answer.status_code == 404, path
        said.append(answer.text)
    assert requests.post(f"{url}/search", json={"documents": ["x"]}, timeout=10).status_code == 405
    assert _search(url, "x" * 301).status_code == 422
    assert _search(url, '"; DROP TABLE corpus; -- OR * NEAR(').status_code in (200, 502)
    said += [_search(url, query).text for query in ("redis", "?!", "x" * 301)]
    assert _search(url, "?!").json() == [], "no word, so nothing is recalled and nothing asked"
    for text in said:
        assert SECRET not in text and behind.split("//")[1] not in text


def test_the_lesson_asks_its_own_server(server: Server, tmp_path: Path) -> None:
    """Another lesson's server may be the newest one, and want a key."""
    lesson = json.loads((REPOSITORY / "notebooks" / "11_into_your_stack.ipynb").read_text("utf-8"))
    code = {cell["id"]: "".join(cell["source"]) for cell in lesson["cells"]}
    (tmp_path / "cells.py").write_text(
        "import importlib.util, os, types\n"
        f"server = types.SimpleNamespace(url={server.url!r})\n"
        f"documents = {TEXTS[:3]!r}\n{code['backend']}\n{code['backend_search']}\n",
        encoding="utf-8",
    )
    newer = ServerRecord(
        url="http://127.0.0.1:9", port=9, pid=os.getpid(), created=psutil.Process().create_time(),
        profile="practice", model="practice", served_name="practice", fingerprint="another",
        log_path="", state="ready", started_at=time.time(),
    )  # fmt: skip
    environment = os.environ | {"RERANK_KIT_STATE_DIR": str(tmp_path / "state")}
    record = tmp_path / "state" / "servers" / "9.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps(asdict(newer)))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "cells.py")], capture_output=True, text=True, timeout=300,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == TEXTS[0]
