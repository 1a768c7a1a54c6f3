"""The exact requests of platforms that cannot run here, sent to the live server.

Fields, headers and address joining follow each product's source (named beside it); the answer is
read the way that source reads it. What a platform gets must be what a plain request gets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from rerank_kit import Reranker, Server
from rerank_kit.samples import SAMPLES

QUERY, DOCUMENTS = SAMPLES[1].query, list(SAMPLES[1].documents)
Scores = dict[int, float]


def _post(url: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
    answer = requests.post(url, json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _dify(root: str, model: str) -> Scores:
    """langgenius/dify-official-plugins, models/openai_api_compatible/models/rerank/rerank.py.
    The user enters root/v1; without a key it sends an empty Authorization header."""
    body = {"model": model, "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)}
    headers = {"Content-Type": "application/json", "Authorization": ""}
    found = _post(f"{root}/v1".rstrip("/") + "/rerank", body, headers)
    return {row["index"]: row["relevance_score"] for row in found["results"]}


def _ragflow_vllm(root: str, model: str) -> Scores:
    """infiniflow/ragflow, rag/llm/rerank_model.py (b1b8cd6), provider VLLM: Cohere's v1 client on
    the root, which appends /v1/rerank."""
    body = {"query": QUERY, "documents": DOCUMENTS, "model": model, "top_n": len(DOCUMENTS),
            "return_documents": False}  # fmt: skip
    headers = {"Authorization": "Bearer empty", "X-Fern-Language": "Python"}
    found = _post(f"{root}/v1/rerank", body, headers)
    return {row["index"]: row["relevance_score"] for row in found["results"]}


def _ragflow_openai_compatible(root: str, model: str) -> Scores:
    """The same file, provider OpenAI-API-Compatible: it cuts texts and rescales scores itself."""
    body = {"model": model, "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer x"}
    found = _post(f"{root}/v1/rerank", body, headers)
    scores = {row["index"]: row["relevance_score"] for row in found["results"]}
    assert all(0 <= score <= 1 for score in scores.values()), "it would rescale these"
    return scores


def _ragflow_go(root: str, model: str) -> Scores:
    """The same repository, internal/entity/models/vllm.go: root/v1, to which it appends."""
    body = {"model": model, "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer x"}
    found = _post(f"{root}/v1/rerank", body, headers)
    return {row["index"]: row["relevance_score"] for row in found["results"]}


def _open_webui(root: str, model: str) -> Scores:
    """open-webui, backend/open_webui/retrieval/models/external.py: the full address, and the
    answer put back into the order of the documents."""
    body = {"model": model, "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer x"}
    found = _post(f"{root}/v1/rerank", body, headers)
    rows = sorted(found["results"], key=lambda row: row["index"])
    return dict(enumerate(row["relevance_score"] for row in rows))


def _weaviate(root: str, model: str) -> Scores:
    """weaviate, modules/reranker-cohere/clients/ranker.go: the root, to which it appends
    /v2/rerank; some X-Cohere-Api-Key must be set, it becomes the bearer."""
    body = {"documents": DOCUMENTS, "query": QUERY, "model": model, "return_documents": False}
    headers = {"Authorization": "BEARER x", "Content-Type": "application/json",
               "Request-Source": "unspecified:weaviate"}  # fmt: skip
    found = _post(f"{root}/v2/rerank", body, headers)
    return {row["index"]: row["relevance_score"] for row in found["results"]}


@pytest.mark.parametrize(
    "ask",
    [_dify, _ragflow_vllm, _ragflow_openai_compatible, _ragflow_go, _open_webui, _weaviate],
    ids=lambda ask: ask.__name__.strip("_"),
)
def test_a_platform_gets_the_scores_of_a_plain_request(
    ask: Callable[[str, str], Scores], server: Server, reranker: Reranker
) -> None:
    expected = {one.index: one.score for one in reranker.rank(QUERY, DOCUMENTS)}
    found = ask(server.url, reranker.model)
    assert found.keys() == expected.keys()
    for index, score in found.items():
        assert score == pytest.approx(expected[index], abs=1e-5)


#: A search answer of Elasticsearch and OpenSearch (`POST /corpus/_search` with a match query), in
#: the shape of their search API's documentation; neither engine runs in these tests.
SEARCH_HITS = {
    "took": 3,
    "timed_out": False,
    "hits": {
        "total": {"value": 4, "relation": "eq"},
        "max_score": 1.9,
        "hits": [
            {"_index": "corpus", "_id": f"doc-{place}", "_score": 1.9 - place / 10,
             "_source": {"text": text}}
            for place, text in enumerate(DOCUMENTS)
        ],
    },
}  # fmt: skip


def test_hits_of_a_search_engine_are_documents(reranker: Reranker) -> None:
    """First stage Elasticsearch or OpenSearch: its hits become documents with their ids."""
    hits = SEARCH_HITS["hits"]["hits"]  # type: ignore[index]
    documents = [{"id": hit["_id"], "text": hit["_source"]["text"]} for hit in hits]
    ranking = reranker.rank(QUERY, documents)
    assert ranking[0].id == f"doc-{SAMPLES[1].best}"
