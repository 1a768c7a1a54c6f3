"""Our load generator beside vLLM's own: `vllm bench serve --backend vllm-rerank`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from rerank_kit import Server, models
from rerank_kit.tuning import Load, Workload, run_load
from rerank_kit.tuning.texts import LocalTokenizer

#: Two runs of the same tool differ by a few percent; the texts differ too (both are random).
TOLERANCE = 0.2
DOCUMENTS, REQUESTS, TEXT_TOKENS = 16, 12, 128
#: vLLM's command line reads its own version from the package `vllm`, which the CPU build lacks.
METADATA = "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n"


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_both_generators_see_the_same_speed(server: Server, tmp_path: Path) -> None:
    """Ours, theirs, ours, on the same server: pairs of the same lengths, two requests at once.
    Where the machine was not as fast before theirs as after it, theirs lies between the two."""
    seen = []
    for attempt in range(5):  # something else on the machine must not decide
        before = _ours(server, 2 * attempt)
        theirs = _theirs(server, tmp_path, attempt)
        after = _ours(server, 2 * attempt + 1)
        seen.append((before, theirs, after))
        slow, fast = sorted((before, after))
        if slow * (1 - TOLERANCE) <= theirs <= fast * (1 + TOLERANCE):
            return
    raise AssertionError(f"ours, theirs, ours, in pairs a second: {seen}")


def _ours(server: Server, seed: int) -> float:
    """Random text of the same lengths as theirs: half for the query, half for each document."""
    chance = random.Random(seed)
    tokenizer = LocalTokenizer(models.practice_model_dir())

    def text() -> str:
        words = " ".join(f"{chance.randrange(10**6)}" for _ in range(TEXT_TOKENS))
        return words[: tokenizer.borders(words)[TEXT_TOKENS // 2]]

    workload = Workload("random", (text(),), tuple(text() for _ in range(400)), DOCUMENTS)
    load = Load(concurrency=2, requests=REQUESTS, warm_up_requests=1)
    return run_load(server.url, with_one_query(workload), load).pairs_per_second


def with_one_query(workload: Workload) -> Workload:
    """As theirs: one query for the whole run, so it is in the cache after the first document."""
    queries = tuple(workload.queries[0] + " " * place for place in range(REQUESTS + 1))
    return Workload(workload.name, queries, workload.documents, DOCUMENTS)


def _theirs(server: Server, folder: Path, seed: int) -> float:
    shim = folder / "vllm-0.32.0.dist-info"
    shim.mkdir(exist_ok=True)
    (shim / "METADATA").write_text(METADATA, encoding="utf-8")
    command = [
        sys.executable, "-m", "vllm.entrypoints.cli.main", "bench", "serve",
        "--backend", "vllm-rerank", "--base-url", server.url, "--endpoint", "/v1/rerank",
        "--model", "practice", "--tokenizer", str(models.practice_model_dir()),
        "--dataset-name", "random-rerank", "--random-input-len", str(TEXT_TOKENS),
        "--random-batch-size", str(DOCUMENTS), "--num-prompts", str(DOCUMENTS * REQUESTS),
        "--max-concurrency", "2", "--seed", str(seed), "--save-result", "--result-dir",
        str(folder), "--result-filename", f"{seed}.json", "--percentile-metrics", "e2el",
    ]  # fmt: skip
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-800:]
    found = json.loads((folder / f"{seed}.json").read_text(encoding="utf-8"))
    requests = found["completed"]
    assert requests == REQUESTS, found
    return requests * DOCUMENTS / float(found["duration"])
