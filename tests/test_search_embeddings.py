"""Recall by embeddings through a real /v1/embeddings: vLLM's, with the practice model's weights.

The practice model is no embedding model, so its vectors mean little; what is tested is the
wiring: a text is nearest to itself, every document gets its own vector, and both recalls fuse.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from processes import cli, end_all, wait_until

from rerank_kit import machine
from rerank_kit.models import practice_model_dir
from rerank_kit.search import Bm25, Embeddings, Hybrid, Search, shipped
from rerank_kit.search.recall import QWEN3_QUERY_PREFIX, TEXTS_PER_REQUEST

pytestmark = pytest.mark.full
START_SECONDS = 400


@pytest.fixture(scope="module")
def embeddings_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = machine.free_port()
    log = tmp_path_factory.mktemp("embeddings") / "server.log"
    words = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(practice_model_dir()), "--served-model-name", "Qwen3-Embedding-practice",
        "--runner", "pooling", "--convert", "embed", "--host", "127.0.0.1", "--port", str(port),
        "--dtype", "float32", "--max-model-len", "4096", "--enforce-eager",
        "--kv-cache-memory-bytes", "268435456",
    ]  # fmt: skip
    environment = {
        **os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    }  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )

    def ready() -> bool:
        assert process.poll() is None, Path(log).read_text(errors="replace")[-3000:]
        try:
            return requests.get(f"{url}/health", timeout=5).ok
        except requests.RequestException:
            return False

    family = [psutil.Process(process.pid)]
    try:
        wait_until(ready, START_SECONDS)
        family += family[0].children(recursive=True)
        yield url
    finally:
        process.terminate()
        psutil.wait_procs(family, timeout=20)
        end_all(family)
        process.wait()


def test_embeddings_find_a_text_by_itself_and_fuse_with_words(embeddings_url: str) -> None:
    documents = shipped("technical").documents
    assert len(documents) > TEXTS_PER_REQUEST, "several requests are needed"
    recall = Embeddings(documents, f"{embeddings_url}/v1", query_prefix="")
    for place in (0, TEXTS_PER_REQUEST, len(documents) - 1):
        assert recall.find(documents[place].whole, 3)[0] == place
    assert len(recall.find("anything", 1000)) == len(documents)
    fused = Search(Hybrid(Bm25(documents), recall)).run(documents[5].whole, top_n=1)
    assert fused[0].document == documents[5]


def test_a_qwen3_embedding_model_gets_its_query_prefix(embeddings_url: str) -> None:
    documents = shipped("design").documents[:4]
    assert Embeddings(documents, embeddings_url).query_prefix == QWEN3_QUERY_PREFIX
    assert Embeddings(documents, embeddings_url, model="Qwen3-Embedding-practice",
                      query_prefix="query: ").query_prefix == "query: "  # fmt: skip


def test_the_search_command_with_embeddings(embeddings_url: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Water a cactus every two weeks.", encoding="utf-8")
    (tmp_path / "b.txt").write_text("Bake the cake for thirty minutes.", encoding="utf-8")
    done = cli(
        "search", "--folder", str(tmp_path), "--query", "cake", "--recall", "hybrid",
        "--embeddings-url", embeddings_url, "--no-rerank",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "b.txt" in done.stdout and "a.txt" in done.stdout
