"""A search page's back end: recall, rerank, answer. Copy it and change it.

    RERANK_URL=... RERANK_API_KEY=... CORPUS=texts.jsonl uvicorn rerank_kit.integrations.web_backend:app

Safe to expose: visitors send a query and nothing else. They reach no path of the reranking server,
see neither its address nor its key nor its errors (they are in this program's log), cannot pass
documents or instructions, and a full house answers 503 instead of queueing. Limit requests per
visitor in the proxy that brings TLS.
"""  # noqa: E501

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import threading
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query

from rerank_kit.client import Reranker
from rerank_kit.errors import RerankKitError

RECALLED, SHOWN, AT_ONCE = 50, 10, 4
app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # nothing to explore
_log = logging.getLogger(__name__)
_places = threading.BoundedSemaphore(AT_ONCE)


def words(text: str) -> str:
    """Words for the full-text index; Chinese, which has no spaces, character by character."""
    return " ".join(re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+", text.lower()))


def build_index(path: str) -> sqlite3.Connection:
    """A JSONL file with `text` in each line -> an SQLite full-text index in memory (BM25)."""
    index = sqlite3.connect(":memory:", check_same_thread=False)
    index.execute("CREATE VIRTUAL TABLE corpus USING fts5(text UNINDEXED, words)")
    lines = filter(str.strip, Path(path).read_text(encoding="utf-8").splitlines())
    texts = [json.loads(line)["text"] for line in lines]
    index.executemany("INSERT INTO corpus VALUES (?, ?)", [(text, words(text)) for text in texts])
    return index


_index, _reading = build_index(os.environ["CORPUS"]), threading.Lock()
_reranker = Reranker(timeout_seconds=30, retry_seconds=5)  # its address and key stay in here


def recall(query: str) -> list[str]:
    """First stage: any shared word counts, the best BM25 first."""
    wanted = " OR ".join(f'"{word}"' for word in words(query).split())
    find = "SELECT text FROM corpus WHERE words MATCH ? ORDER BY rank LIMIT ?"
    with _reading:
        return [row[0] for row in _index.execute(find, (wanted, RECALLED))] if wanted else []


@app.get("/search")
def search(query: Annotated[str, Query(min_length=1, max_length=300)]) -> list[dict]:
    """The best documents of the corpus, with their relevance scores."""
    if not _places.acquire(blocking=False):
        raise HTTPException(503, "busy, try again in a moment")
    try:
        found = recall(query)
        ranking = _reranker.rank(query, found, top_n=SHOWN, progress=False) if found else ()
    except RerankKitError as error:
        _log.error("no ranking: %s", error)  # for you; it never holds the key
        raise HTTPException(502, "ranking is not available now") from None
    finally:
        _places.release()
    return [{"text": one.text, "score": round(one.score, 4)} for one in ranking]
