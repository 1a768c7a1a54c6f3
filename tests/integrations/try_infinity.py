"""infinity-emb with a tiny cross-encoder of random weights: our Infinity adapter against a live
server. The right scores are those of the model's own recipe in transformers."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"}
sys.path.append(str(Path(__file__).parent.parent))

import tiny_rerankers

from rerank_kit import Reranker, RerankKitError

QUERY = "how do I water a cactus"
DOCUMENTS = ("Every two weeks, a little.", "The train leaves at noon.", "仙人掌两周浇一次水。")
START_SECONDS = 180


@contextlib.contextmanager
def infinity(folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [Path(sys.executable).parent / "infinity_emb", "v2", "--model-id", folder.name,
             "--engine", "torch", "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1",
             "--port", str(port), "--no-bettertransformer", "--no-model-warmup"]  # fmt: skip
    child = subprocess.Popen(
        words, cwd=folder.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    try:
        while child.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            time.sleep(0.5)
        yield url
    finally:
        child.terminate()
        child.wait(30)


def report(way: str, good: bool, said: object) -> None:
    line = {"library": "infinity-emb", "version": importlib.metadata.version("infinity-emb"),
            "way": way, "result": "ok" if good else f"wrong: {said}"}  # fmt: skip
    print(json.dumps(line, ensure_ascii=False), flush=True)


with tempfile.TemporaryDirectory() as scratch:
    model = Path(scratch, "tiny")
    expected = tiny_rerankers.bge_reranker_v2_m3(model, QUERY, DOCUMENTS)
    with infinity(model) as url:
        client = Reranker(url)
        ranking = client.rank(QUERY, DOCUMENTS)
        exact = all(abs(one.score - expected[one.index]) < 1e-5 for one in ranking)
        report("our client", client.engine.name == "infinity" and exact, ranking.scores)
        # It counts characters and calls them tokens.
        report("no false token count", ranking.prompt_tokens is None, ranking.prompt_tokens)
        try:  # it answers to any name with the model that it has
            said: object = Reranker(url, model="another").rank(QUERY, DOCUMENTS)
        except RerankKitError as error:
            said = error
        report("another model's name is refused", "tiny" in str(said) and said is not None
               and isinstance(said, RerankKitError), said)  # fmt: skip
