"""Shared by the integration scripts: the server, one sample, and the scores a plain request gets.

Only the standard library: each script runs in an environment with one library in it. A script
prints one JSON line for each way it tried.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import urllib.request
from collections.abc import Callable

BASE = os.environ["RERANK_URL"].rstrip("/")
KEY = os.environ.get("RERANK_API_KEY") or "EMPTY"
QUERY = "how to fix redis connection timeout"
DOCUMENTS = [
    "To fix a leaking tap, first turn off the water supply.",
    "Redis connection timeouts are usually fixed by raising the client timeout and "
    "checking the connection pool size.",
    "红烧肉的做法：先把五花肉焯水",
    "Redis is an in-memory data store used as a cache and message broker.",
]
INSTRUCTION = "Retrieve only documents about plumbing"
TOP_N = 3


def post(path: str, body: dict) -> dict:
    request = urllib.request.Request(
        f"{BASE}{path}", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def model() -> str:
    request = urllib.request.Request(
        f"{BASE}/v1/models", headers={"Authorization": f"Bearer {KEY}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"][0]["id"]


MODEL = model()


def expected(instruction: str | None = None, documents: list[str] | None = None) -> list[tuple]:
    """(index, score) as a plain request gets them, best first: what a library has to hand on."""
    body = {"model": MODEL, "query": QUERY, "documents": documents or DOCUMENTS}
    if instruction:
        body["instruction"] = instruction
    answer = post("/v1/rerank", body)
    return [(row["index"], row["relevance_score"]) for row in answer["results"]]


def attempt(
    library: str,
    way: str,
    run: Callable[[], list[tuple]],
    instruction: str | None = None,
    top_n: int = TOP_N,
) -> None:
    """Run one way of calling. Good: the order and every score are those of a plain request."""
    line = {"library": library, "version": importlib.metadata.version(library), "way": way}
    try:
        got = [(int(index), float(score)) for index, score in run()]
        want = expected(instruction)[:top_n]
        same_order = [index for index, _ in got] == [index for index, _ in want]
        exact = same_order and all(
            abs(a - b) < 1e-5 for (_, a), (_, b) in zip(got, want, strict=True)
        )
        line["result"] = "ok" if exact else f"wrong: got {got}, a plain request gets {want}"
    except Exception as error:  # the table names what failed, and the others still run
        line["result"] = f"failed: {type(error).__name__}: {str(error)[:200]}"
    print(json.dumps(line, ensure_ascii=False), flush=True)


def by_text(texts_and_scores: list[tuple]) -> list[tuple]:
    """Libraries that keep no index: find it again by the text."""
    return [(DOCUMENTS.index(text), score) for text, score in texts_and_scores]
