"""vllm-router in front of the server: our client through it, with an instruction and with a long
document; and which of the rerank routes it forwards rightly."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from common import BASE, DOCUMENTS, INSTRUCTION, KEY, MODEL, QUERY, TOP_N, attempt

from rerank_kit import Reranker

ROUTER = Path(sys.executable).parent / "vllm-router"
START_SECONDS = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def router() -> Iterator[str]:
    """The router on the loopback with one worker: the server under test."""
    port = free_port()
    words = [ROUTER, "--host", "127.0.0.1", "--port", str(port), "--worker-urls", BASE,
             "--prometheus-port", str(free_port()), "--log-level", "error"]  # fmt: skip
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    try:
        while child.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            time.sleep(0.2)
        yield url
    finally:
        child.terminate()
        child.wait(30)


def ours(url: str, instruction: str | None) -> list[tuple]:
    ranking = Reranker(url, api_key=KEY).rank(QUERY, DOCUMENTS, instruction, TOP_N)
    return [(one.index, one.score) for one in ranking]


def plain(url: str) -> list[tuple]:
    import requests

    body = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS, "top_n": TOP_N}
    answer = requests.post(
        url, json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=120
    ).json()
    return [(row["index"], row["relevance_score"]) for row in answer["results"]]


def refused(url: str) -> list[tuple]:
    """0.1.17 puts the model name `default` in place of ours. Not so: a later version heals."""
    with contextlib.suppress(KeyError):
        plain(url)
        raise AssertionError("this path works now: say so in the docs, and use it")
    return plain(url.replace("/v1/rerank", "/v2/rerank"))


with router() as through:
    attempt("vllm-router", "our client", lambda: ours(through, None))
    attempt("vllm-router", "our client, instruction", lambda: ours(through, INSTRUCTION),
            INSTRUCTION)  # fmt: skip
    attempt("vllm-router", "/v2/rerank (its /v1/rerank fails)",
            lambda: refused(f"{through}/v1/rerank"))  # fmt: skip
