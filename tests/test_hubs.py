"""Which model hub answers, asked quickly, and only where one is needed."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rerank_kit import models
from rerank_kit.machine import findings as lines
from rerank_kit.machine import network


class _Hub(http.server.BaseHTTPRequestHandler):
    """A stand-in hub: /stall does not answer while a test runs, /away sends elsewhere, /gone has
    nothing. The others answer when three of them are asked at the same time, and not before."""

    over: threading.Event
    together: threading.Barrier

    def do_HEAD(self) -> None:
        if "stall" in self.path:
            self.over.wait(300)
            return
        self.together.wait(60)
        self.send_response(404 if "gone" in self.path else 302 if "away" in self.path else 200)
        if "away" in self.path:
            self.send_header("Location", "http://login.example/portal")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    _Hub.over, _Hub.together = threading.Event(), threading.Barrier(3)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    _Hub.over.set()
    server.shutdown()


def test_hubs_are_asked_at_once(hub: str) -> None:
    asked = [network.Hub(word, f"{hub}/{word}") for word in ("good", "away", "gone")]
    asked.append(network.Hub("nobody", "http://127.0.0.1:1"))
    good, away, gone, nobody = network.probe(asked, 60.0)
    assert good.answers and not any(one.answers for one in (away, gone, nobody))
    assert "in between" in away.problem and "404" in gone.problem and nobody.problem


def test_a_hub_that_does_not_answer_is_left_behind(hub: str) -> None:
    started = time.monotonic()
    (stall,) = network.probe([network.Hub("stall", f"{hub}/stall")], 0.5)
    assert time.monotonic() - started < 60  # the hub would hold the line for 300
    assert not stall.answers and "time" in stall.problem


def test_the_chosen_hub_is_asked_first() -> None:
    first = network.hubs_to_ask({"HF_ENDPOINT": "https://hf-mirror.com/"})
    assert first[0].name == "the mirror hf-mirror.com" and len(first) == 3
    own = network.hubs_to_ask({"HF_ENDPOINT": "https://user:secret@hub.example"})
    assert own[0].name == "the hub in HF_ENDPOINT" and len(own) == 4
    assert network.hubs_to_ask({})[0].name == "Hugging Face"
    assert network.hubs_to_ask({"VLLM_USE_MODELSCOPE": "True"})[0].name == "ModelScope"


@pytest.mark.parametrize(
    ("profile", "answers", "status", "says"),
    [("practice", (), "ok", "practice profile needs none"), ("remote", (), "ok", "needs none"),
     ("gpu", (), "fix", "curl"), ("cpu", (1,), "fix", "HF_ENDPOINT=https://hf-mirror.com"),
     ("cpu", (2,), "fix", "MODELSCOPE"), ("gpu", (0,), "ok", "Hugging Face answers")],
)  # fmt: skip
def test_a_hub_is_missing_only_where_one_is_needed(
    profile: str, answers: tuple[int, ...], status: str, says: str,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.example:3128")
    hubs = [
        network.Hub(hub.name, hub.url, 0.2 if place in answers else None, "no answer in time")
        for place, hub in enumerate(network.hubs_to_ask({}))
    ]
    found = lines.hub_finding(hubs, profile)
    assert found.status == status and says in f"{found.detail} {found.fix}"
    assert "proxy.example" in found.detail and "secret" not in str(found)


def test_a_model_on_the_disk_needs_no_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert lines.hub_finding([], "cpu").status == "fix"
    folder = tmp_path / "models--Qwen--Qwen3-Reranker-0.6B" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    config = (models.practice_model_dir() / "config.json").read_text()
    (folder / "config.json").write_text(config)
    assert models.facts_of("0.6B").layers == 4, "its own config.json is read"
    assert lines.hub_finding([], "cpu").status == "fix", "a configuration alone is no model"
    (folder / "model.safetensors").touch()
    found = lines.hub_finding([], "cpu")
    assert found.status == "ok" and "0.6B" in found.detail
