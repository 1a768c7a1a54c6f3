"""What every proxy of ours must do, nginx and Caddy alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
from processes import wait_until

from rerank_kit import Reranker, Server, errors, machine

KEY = "a-Key_of-twenty-letters"


def assert_every_path_needs_the_key(server: Server, root: str) -> None:
    """Every path of the server, and some that try to slip through."""
    paths = requests.get(f"{server.url}/openapi.json", timeout=30).json()["paths"]
    assert len(paths) > 15
    for path in [*paths, "/", "/docs", "/metrics", "//v1/models", "/v1/../metrics"]:
        for word in ("", f"Bearer {KEY.upper()}", f"Bearer {KEY}x", KEY, "Bearer *"):
            headers = {"Authorization": word} if word else {}
            for method in ("GET", "POST"):
                answer = requests.request(method, root + path, headers=headers, timeout=30)
                assert answer.status_code == 401 and "key" in answer.text, (method, path, word)


def run_until_ctrl_c(server: Server, folder: Path, *more: str) -> dict[str, Any]:
    """`rerank-kit proxy --run`: it makes a key, lets in who has it, and ends with Ctrl-C. What it
    told."""
    listen = f"127.0.0.1:{machine.free_port()}"
    words = ["proxy", "--run", "--json", "--listen", listen, "--upstream", server.url, "--folder",
             str(folder), *more]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "RERANK_API_KEY"}
    child = subprocess.Popen(
        [sys.executable, "-m", "rerank_kit", *words], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: child.poll() is not None or (folder / "key").exists(), 180)
        key = (folder / "key").read_text().strip()
        reranker = Reranker(f"http://{listen}", api_key=key)
        wait_until(lambda: child.poll() is not None or scores(reranker), 180)
        assert scores(reranker)
        child.send_signal(signal.SIGINT)
        out, said = child.communicate(timeout=300)
    finally:
        child.kill()
        child.wait()
    told: dict[str, Any] = json.loads(out)
    assert child.returncode == 0 and told["listen"] == listen
    assert key not in out + said
    assert machine.port_is_free(int(listen.rpartition(":")[2]))
    return told


def scores(reranker: Reranker) -> bool:
    try:
        return len(reranker.score([("a", "b")])) == 1
    except errors.RerankKitError:
        return False
