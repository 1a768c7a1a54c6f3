"""What comes back and is no two scores: hostile and broken peers, one typed error each, and never a
wrong score."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from clear_errors import is_clear
from hostile_peers import HTML, peer, raw_peer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay import Fault, relay

from rerank_kit import Reranker, Server, errors
from rerank_kit.cli import main
from rerank_kit.client.transport import Transport

NAN, INFINITE = float("nan"), float("inf")


def scores_as(rows: Any) -> bytes:
    return json.dumps({"data": rows}).encode()


def row(index: Any, score: Any) -> dict[str, Any]:
    return {"index": index, "score": score}


WRONG_ANSWERS: list[bytes] = [
    b"", b"null", b"[]", b"{}", b"0", b'"scores"', b"true", b"[0.5, 0.5]", b"{" * 50, HTML,
    b"\x00\x00", b"\xff\xfe", b"<?xml version='1.0'?><scores/>", b"data: {}\n\n", b'{"data": 7}',
    b'{"data": null}', b'{"data": {}}', b'{"data": "ab"}', b'{"data": [[0, 0.5], [1, 0.5]]}',
    b'{"data": [null, null]}', b'{"data": [0.5, 0.5]}', b'{"results": [{"index": 0}]}',
    b'{"error": "none"}', b"[" * 100_000,
    scores_as([]), scores_as([row(0, 0.5)]), scores_as([row(0, 0.5)] * 2),
    scores_as([row(0, 0.5), row(1, 0.5), row(2, 0.5)]), scores_as([row(0, 0.5), row(2, 0.5)]),
    scores_as([row(0, 0.5), row(-1, 0.5)]), scores_as([row(0, 0.5), row("1", 0.5)]),
    scores_as([row(0, 0.5), row(1.0, 0.5)]), scores_as([row(0, 0.5), row(True, 0.5)]),
    scores_as([row(0, 0.5), row(None, 0.5)]), scores_as([row(0, 0.5), row(1, None)]),
    scores_as([row(0, 0.5), row(1, "0.5")]), scores_as([row(0, 0.5), row(1, True)]),
    scores_as([row(0, 0.5), row(1, [0.5])]), scores_as([row(0, 0.5), row(1, {})]),
    scores_as([row(0, 0.5), row(1, NAN)]), scores_as([row(0, 0.5), row(1, INFINITE)]),
    scores_as([row(0, 0.5), {"index": 1}]), scores_as([row(0, 0.5), {"score": 0.5}]),
    b'{"data": [{"index": 0, "score": 0.5}, {"index": 1, "score": 1e999}]}',
    b'{"data": [{"index": 0, "score": 0.5}, {"index": 1, "score": 0.5',
]  # fmt: skip


@pytest.mark.parametrize("body", WRONG_ANSWERS, ids=lambda body: body[:40].decode("latin-1"))
def test_an_answer_that_is_not_two_scores_gives_no_score(body: bytes) -> None:
    with peer(200, body) as url, pytest.raises(errors.ResponseError) as caught:
        Reranker(url, engine="vllm", model="m").score([("q", "a"), ("q", "b")])
    assert is_clear(caught.value)


@pytest.mark.parametrize("body", WRONG_ANSWERS, ids=lambda body: body[:40].decode("latin-1"))
def test_a_command_says_it_in_one_object(body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """--json: an error object on stdout and nothing else, whatever it was that answered."""
    with peer(200, body) as url:
        words = ["rank", "--query", "q", "--documents", __file__, "--url", url, "--json"]
        assert main(words) in (1, 2)
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["kind"] and error["message"] and "Traceback" not in said.out + said.err


@pytest.mark.parametrize("status", [201, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402,
                                    403, 404, 405, 406, 407, 408, 409, 410, 411, 413, 414, 415,
                                    418, 421, 422, 426, 428, 431, 451, 499])  # fmt: skip
def test_every_other_status_is_a_typed_error(status: int) -> None:
    body = b"" if status in (204, 304) else HTML
    with peer(status, body, {"Location": "http://elsewhere.example/"}) as url:
        with pytest.raises(errors.RequestError) as caught:
            Transport(url, retries=0).post("/v1/score", {})
            raise errors.ResponseError("an empty answer")  # 204
    assert is_clear(caught.value)


@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504, 505, 507, 511, 520, 524, 599])
@pytest.mark.parametrize("body", [HTML, b"", b'{"error":{"message":"x"}}', b"\xff"], ids=repr)
def test_a_failing_server_is_a_server_fault(status: int, body: bytes) -> None:
    with peer(status, body) as url, pytest.raises(errors.ServerFault) as caught:
        Transport(url, retries=0).post("/v1/score", {})
    assert is_clear(caught.value)


@pytest.mark.parametrize(
    "said",
    [b"", b"\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"220 mail ESMTP\r\n", b"-ERR unknown command\r\n",
     b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500,
     b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
     b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
     b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
     b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe", b"\x16\x03\x01\x00\x05hello"],
    ids=lambda said: repr(said[:40]),
)  # fmt: skip
def test_peers_that_speak_something_else(said: bytes) -> None:
    with raw_peer(said) as url, pytest.raises(errors.RequestError) as caught:
        client = Reranker(url, engine="vllm", model="m", timeout_seconds=20)
        client.transport._retries = 0
        client.score([("a", "b")])
    assert is_clear(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 90,
        b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + b" " * 400,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * 400,
    ],
    ids=["headers", "body", "body without a length"],
)
def test_a_slow_loris_is_given_up_in_time(said: bytes) -> None:
    """A byte now and then keeps every socket time-out alive: the whole answer has a limit."""
    with raw_peer(said, one_byte_every_seconds=0.05) as url:
        with pytest.raises(errors.RequestTimeout, match="within 1.5 seconds"):
            Transport(url, timeout_seconds=1.5).get("/v1/models")


@given(st.data())
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_the_texts_and_the_network_do_scores_are_right_or_absent(
    server: Server, reranker: Reranker, data: st.DataObject
) -> None:
    """Any texts, any mix of lost and refused requests: each score is that of its own pair."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    jobs = data.draw(st.lists(st.tuples(text, st.lists(text, max_size=5)), max_size=4))
    rng = random.Random(data.draw(st.integers(0, 999)))
    kinds = [None, None, Fault(), Fault(after=True), Fault(503, HTML, {"Retry-After": "0"}),
             Fault(200, b'{"data": ['), Fault(400, b'{"error": "no"}')]  # fmt: skip
    with relay(server.url, lambda path, body, n: None if n < 2 else rng.choice(kinds)) as network:
        try:
            together = Reranker(network.url).rank_many(jobs)
        except errors.RequestError as error:
            assert is_clear(error)
            return
    pairs = [(query, document) for query, documents in jobs for document in documents]
    alone = iter(reranker.score(pairs))
    for ranking, (_, documents) in zip(together, jobs, strict=True):
        found = {hit.index: hit.score for hit in ranking}
        for place in range(len(documents)):
            assert math.isclose(found[place], next(alone), abs_tol=1e-5)
