"""Other engines than vLLM: what is sent to them and how their published answers are read.

Their answers below are fixtures that follow the named publications; no such server runs here.
vLLM itself, and vLLM behind a router, are tested live in the other files.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from relay import Fault, relay

from rerank_kit import Reranker, Server, errors
from rerank_kit.client import engines
from rerank_kit.client.transport import Transport

#: Shapes as the projects describe them (what of it was read: the docstrings of the adapters).
#: Infinity's is what a live infinity-emb 0.0.77 sends; the others were not captured.
PUBLISHED: dict[str, dict[str, Any]] = {
    "sglang": {
        "/v1/models": {"data": [{"id": "Qwen/Qwen3-Reranker-0.6B", "owned_by": "sglang",
                                 "max_model_len": 40960}]},
        "/v1/rerank": [
            {"score": 0.9, "document": None, "index": 1, "meta_info": {"prompt_tokens": 80}},
            {"score": 0.2, "document": None, "index": 0, "meta_info": {"prompt_tokens": 81}},
        ],
    },
    "tei": {
        "/info": {"model_id": "BAAI/bge-reranker-v2-m3", "max_input_length": 8192,
                  "max_client_batch_size": 2, "model_type": {"reranker": {}}},
        "/rerank": [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.2}],
    },
    "infinity": {
        "/models": {"data": [{"id": "BAAI/bge-reranker-v2-m3", "owned_by": "infinity"}]},
        "/rerank": {"object": "rerank", "results": [
            {"relevance_score": 0.9, "index": 1, "document": None},
            {"relevance_score": 0.2, "index": 0, "document": None}],
            "model": "BAAI/bge-reranker-v2-m3", "usage": {"prompt_tokens": 12}},
    },
}  # fmt: skip


@contextlib.contextmanager
def published(engine: str) -> Iterator[Any]:
    def answer(path: str, body: bytes, number: int) -> Fault:
        if path in PUBLISHED[engine]:
            return Fault(200, json.dumps(PUBLISHED[engine][path]).encode())
        return Fault(404, b'{"detail":"Not Found"}')

    with relay("http://127.0.0.1:9", answer) as network:
        yield network


@pytest.mark.parametrize(
    ("engine", "path", "fields"),
    [
        ("sglang", "/v1/rerank", {"query": "q", "documents": ["a", "b"],
                                  "return_documents": False}),
        ("tei", "/rerank", {"query": "q", "texts": ["a", "b"], "raw_scores": False,
                            "return_text": False, "truncate": False}),
        ("infinity", "/rerank", {"model": "BAAI/bge-reranker-v2-m3", "query": "q",
                                 "documents": ["a", "b"], "raw_scores": False,
                                 "return_documents": False}),
    ],
)  # fmt: skip
def test_an_engine_is_recognised_asked_and_understood(
    engine: str, path: str, fields: dict[str, Any]
) -> None:
    with published(engine) as network:
        client = Reranker(network.url)
        ranking = client.rank("q", ["a", "b"])
        assert client.engine.name == engine
        assert [json.loads(body) for body in network.bodies(path)] == [fields]
        asked = [seen_path for seen_path, _ in network.seen]
        assert len(asked) == len(set(asked)), "something was asked twice"
    assert [(hit.index, hit.score) for hit in ranking] == [(1, 0.9), (0, 0.2)]
    assert ranking.model.startswith(("Qwen/", "BAAI/"))
    assert ranking.prompt_tokens == {"sglang": 161}.get(engine)


def test_sglangs_instruction_has_another_name() -> None:
    with published("sglang") as network:
        Reranker(network.url).rank("q", ["a", "b"], "Find laws")
        assert json.loads(network.bodies("/v1/rerank")[0])["instruct"] == "Find laws"


@pytest.mark.parametrize(
    ("engine", "choice"),
    [
        ("sglang", {"raw_scores": True}), ("sglang", {"max_tokens_per_doc": 5}),
        ("tei", {"instruction": "x"}), ("tei", {"max_tokens_per_doc": 5}),
        ("infinity", {"instruction": "x"}), ("infinity", {"max_tokens_per_doc": 5}),
    ],
)  # fmt: skip
def test_what_an_engine_cannot_do_is_said_and_not_left_out_in_silence(
    engine: str, choice: dict[str, Any]
) -> None:
    with published(engine) as network, pytest.raises(errors.InputError):
        Reranker(network.url).rank("q", ["a", "b"], **choice)


def test_one_query_a_request_and_small_batches_where_an_engine_wants_them() -> None:
    with published("tei") as network:
        Reranker(network.url).rank_many([("q", ["a", "b"]), ("r", ["c", "d"]), ("s", ["e", "f"])])
        sent = [json.loads(body) for body in network.bodies("/rerank")]
    assert sorted((one["query"], *one["texts"]) for one in sent) == [
        ("q", "a", "b"), ("r", "c", "d"), ("s", "e", "f")
    ]  # fmt: skip


def test_vllm_is_recognised_and_can_be_named(server: Server) -> None:
    assert engines.detect(Transport(server.url))[0].name == "vllm"
    with relay(server.url) as network:
        Reranker(network.url, engine="vllm", model="practice").score([("a", "b")])
        assert [path for path, _ in network.seen].count("/v1/models") == 1
