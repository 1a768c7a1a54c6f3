"""Bad texts, bad settings, bad answers: one clear sentence and a typed error each, before a
wrong score can come of it. vLLM's own errors are asked of the real server."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import requests
from hostile_peers import HTML, peer, raw_peer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relay import Fault, relay

from rerank_kit import Reranker, Server, errors
from rerank_kit.cli import main
from rerank_kit.client.transport import Transport

NAN, INFINITE = float("nan"), float("inf")


def is_clear(error: errors.RerankKitError) -> bool:
    """One sentence, no traceback, no object addresses, not a novel."""
    lines = str(error).splitlines()
    return (
        bool(error.message) and len(error.message) < 300 and len(lines) <= 3
        and "Traceback" not in str(error) and " at 0x" not in str(error)
    )  # fmt: skip


# --- what the user passes -------------------------------------------------------------------

NOT_A_TEXT: list[Any] = [
    None, 7, 0, -1, 1.5, NAN, INFINITE, True, False, b"bytes", bytearray(b"x"), ["nested"],
    [], ("a", "b"), {"a"}, object, object(), 3 + 4j, range(3), lambda: "text", Exception("x"),
    "half \ud83d", "\udc80", "ok\udfff",
]  # fmt: skip
NOT_A_LIST: list[Any] = [
    None, "one text", "", b"bytes", 7, 1.5, NAN, True, {"text": "a"}, {"a", "b"}, object(),
    frozenset("a"), bytearray(b"x"), lambda: ["a"],
]  # fmt: skip


@pytest.mark.parametrize("value", NOT_A_TEXT, ids=lambda value: type(value).__name__)
def test_no_texts(reranker: Reranker, value: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: reranker.rank(value, ["a"]),
        lambda: reranker.rank("q", ["a", value]),
        lambda: reranker.rank("q", [{"text": value}]),
        lambda: reranker.score([("q", value)]),
        lambda: reranker.score([(value, "d")]),
        lambda: reranker.rank_many([("q", ["a", value])]),
        lambda: reranker.rank_many([(value, ["a"])]),
    ]
    if value is not None:
        calls.append(lambda: reranker.rank("q", ["a"], value))
    for call in calls:
        with pytest.raises(errors.InputError) as caught:
            call()
        assert is_clear(caught.value)


@pytest.mark.parametrize("value", NOT_A_LIST, ids=lambda value: type(value).__name__)
def test_no_lists(reranker: Reranker, value: Any) -> None:
    for call in (
        lambda: reranker.rank("q", value),
        lambda: reranker.score(value),
        lambda: reranker.rank_many(value),
        lambda: reranker.rank_many([("q", value)]),
    ):
        with pytest.raises(errors.InputError) as caught:
            call()
        assert is_clear(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("top_n", [0, -1, 1.0, "3", NAN, True, [1]]),
        ("threshold", [NAN, INFINITE, -INFINITE, "0.5", True, [0.5]]),
        ("max_tokens_per_doc", [0, -5, 1.5, "100", True]),
        ("max_chunks_per_doc", [0, -1, 2.5, "2"]),
        ("long_documents", ["truncate", "", None, 5, ["chunk"]]),
        ("raw_scores", [None, 1, "yes", "false"]),
        ("return_documents", [None, 0, "no"]),
    ],
)
def test_settings_that_make_no_sense(reranker: Reranker, name: str, values: list[Any]) -> None:
    for value in values:
        if value is None and name != "long_documents" and name.startswith(("top", "thr", "max")):
            continue
        with pytest.raises(errors.InputError) as caught:
            reranker.rank("q", ["a"], **{name: value})
        assert is_clear(caught.value), value


@pytest.mark.parametrize("name", ["top_k", "instruct", "normalize", "truncate_prompt_tokens"])
def test_a_setting_that_does_not_exist_is_no_setting(reranker: Reranker, name: str) -> None:
    """vLLM ignores unknown fields in silence; a closed set of arguments cannot."""
    with pytest.raises(TypeError, match=name):
        reranker.rank("q", ["a"], **{name: 1})


@pytest.mark.parametrize(
    "settings_given",
    [
        {"timeout_seconds": 0}, {"timeout_seconds": -1}, {"timeout_seconds": NAN},
        {"timeout_seconds": "9"}, {"timeout_seconds": None}, {"retry_seconds": -1},
        {"retry_seconds": INFINITE}, {"engine": "gpt"}, {"engine": ""}, {"model": 7},
        {"api_key": "two\nlines"}, {"api_key": "schlüssel"}, {"api_key": "with space"},
        {"api_key": 7}, {"url": ""}, {"url": "http://"}, {"url": "ftp://h"}, {"url": 5},
        {"url": "http://[::1"}, {"url": "http://h:70000"}, {"url": "http://u:p@h"},
        {"url": "http://a\x00b"},
    ],
)  # fmt: skip
def test_clients_that_cannot_be_made(settings_given: dict[str, Any]) -> None:
    with pytest.raises(errors.InputError) as caught:
        Reranker(**({"url": "http://127.0.0.1:1"} | settings_given))
    assert is_clear(caught.value)
    for secret in ("two", "schlüssel", "with space", "u:p"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("host", ["a" * 300, "..", "a..b", "." * 80])
def test_hosts_that_cannot_be_called(host: str) -> None:
    with pytest.raises((errors.InputError, errors.UnreachableError)) as caught:
        Transport(f"http://{host}", retries=0, timeout_seconds=5).get("/health")
    assert is_clear(caught.value)


def test_texts_that_look_bad_and_are_not(reranker: Reranker) -> None:
    """Duplicates, empty, blank, zero bytes, directions, a million of one character."""
    odd = ["", " ", "\n", "\x00", "\u202e abc", "\ufeff", "same", "same", "{}", "null", "NaN",
           "😀" * 50, "\U0010ffff", "a\u0301" * 40, "<|endoftext|>", "a" * 100_000]  # fmt: skip
    ranking = reranker.rank("", odd, max_chunks_per_doc=1)
    assert sorted(hit.index for hit in ranking) == list(range(len(odd)))
    assert all(hit.text == odd[hit.index] for hit in ranking)
    same = [hit.score for hit in ranking if hit.text == "same"]
    assert same[0] == same[1]


@pytest.mark.full
def test_ten_megabytes_in_one_document(reranker: Reranker) -> None:
    ranking = reranker.rank("q", ["word " * 2_000_000, "short"], max_chunks_per_doc=2)
    assert sorted(hit.index for hit in ranking) == [0, 1]
    assert next(hit for hit in ranking if hit.index == 0).truncated
    skipped = reranker.rank("q", ["word " * 2_000_000, "short"], long_documents="skip")
    assert [one.index for one in skipped.unscored] == [0]


# --- what the real server refuses -----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "expected", "says"),
    [
        ("/v1/rerank", {"query": "q"}, errors.BadRequestError, "documents"),
        ("/v1/rerank", {"documents": ["d"]}, errors.BadRequestError, "query"),
        ("/v1/rerank", {"query": "q", "documents": []}, errors.BadRequestError, "At least one"),
        ("/v1/rerank", {"query": "q", "documents": [7]}, errors.BadRequestError, "documents"),
        ("/v1/rerank", {"query": "q", "documents": [None]}, errors.BadRequestError, "documents"),
        ("/v1/rerank", {"query": ["q"], "documents": ["d"]}, errors.BadRequestError, "query"),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "top_n": -1}, errors.BadRequestError,
         "top_n"),
        ("/v1/rerank", {"query": "q", "documents": ["word " * 6000]}, errors.RequestTooLongError,
         "maximum context length"),
        ("/v1/rerank", {"query": "q", "documents": ["word " * 6000], "max_tokens_per_doc": 4090},
         errors.RequestTooLongError, "maximum context length"),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "max_tokens_per_doc": 4096},
         errors.BadRequestError, "max_tokens_per_doc"),
        ("/v1/rerank", {"model": "nope", "query": "q", "documents": ["d"]},
         errors.BadRequestError, "nope"),
        ("/v1/rerank", {"query": "q", "documents": ["d"],
                        "chat_template_kwargs": {"chat_template": "x"}},
         errors.BadRequestError, "chat_template"),
        ("/v1/rerank", {"query": "q", "documents": [{"text": "d"}]}, errors.BadRequestError,
         "documents"),
        ("/v1/rerank", {"query": "q", "documents": [{"content": [{"type": "text", "text": "d"}]}]},
         errors.BadRequestError, "MultiModalParam"),
        ("/v1/rerank", {"query": None, "documents": ["d"]}, errors.BadRequestError, "query"),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "max_tokens_per_doc": -1},
         errors.BadRequestError, "max_tokens_per_doc"),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "truncate_prompt_tokens": 0},
         errors.BadRequestError, "prompt"),
        ("/v1/rerank", {"query": "q", "documents": ["d"], "truncate_prompt_tokens": 99999},
         errors.BadRequestError, "truncate_prompt_tokens"),
        ("/v1/score", {"queries": ["a", "b"], "documents": ["c", "d", "e"]},
         errors.BadRequestError, "1:1, 1:N or N:N"),
        ("/v1/no_such_route", {}, errors.WrongServerError, "Not Found"),
        ("/v1/tokenize", {"prompt": "x"}, errors.WrongServerError, "Not Found"),
        ("/v1/models", {}, errors.WrongServerError, "Method Not Allowed"),
    ],
)  # fmt: skip
def test_every_line_of_the_error_table(
    server: Server, path: str, body: dict[str, Any], expected: type[Exception], says: str
) -> None:
    with pytest.raises(expected) as caught:
        Transport(server.url).post(path, body)
    assert type(caught.value) is expected and is_clear(caught.value)  # type: ignore[arg-type]
    assert says in caught.value.evidence  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "field", ["top_n", "max_tokens_per_doc", "max_tokens_per_query", "priority"]
)
def test_a_null_is_refused_by_vllm_and_never_sent_by_us(server: Server, field: str) -> None:
    body = {"query": "q", "documents": ["d"], field: None}
    assert requests.post(f"{server.url}/v1/rerank", json=body, timeout=300).status_code == 400
    assert Transport(server.url).post("/v1/rerank", body)["results"]


@pytest.mark.parametrize("data", [b"{", b"", b"\xff\xfe{}", b"[1]", b"null", b'"text"'])
def test_bodies_that_are_no_request(server: Server, data: bytes) -> None:
    """The server's words for them are understood (another client may send such a thing)."""
    from rerank_kit.client.http_errors import error_of

    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/v1/rerank", data=data, headers=headers, timeout=300)
    assert answer.status_code == 400
    error = error_of(400, answer.content, answer.headers, "the server")
    assert type(error) is errors.BadRequestError and error.evidence and is_clear(error)


def test_what_is_too_long_goes_through_when_it_is_cut(server: Server) -> None:
    """The two lines of the table that end well; why only one of them is used: notebook 06."""
    for fields in ({"max_tokens_per_doc": 1000}, {"truncate_prompt_tokens": -1}):
        body = {"query": "q", "documents": ["word " * 6000], **fields}
        assert len(Transport(server.url).post("/v1/rerank", body)["results"]) == 1


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [({"Content-Type": "text/plain"}, "/v1/rerank", 400),
     ({"Content-Type": "application/json; charset=utf-8"}, "/v1/rerank", 200),
     ({"Content-Type": "application/json"}, "/v1/rerank/", 307)],
)  # fmt: skip
def test_headers_and_slashes(
    server: Server, headers: dict[str, str], path: str, status: int
) -> None:
    answer = requests.post(
        f"{server.url}{path}", data=b'{"query": "q", "documents": ["d"]}', headers=headers,
        timeout=300, allow_redirects=False,
    )  # fmt: skip
    assert answer.status_code == status
    assert Reranker(f"{server.url}/v1/rerank/").url == server.url


def test_a_wrong_model_name_is_named(server: Server) -> None:
    with pytest.raises(errors.BadRequestError, match="does not serve that model name"):
        Reranker(server.url, model="nope").rank("q", ["d"])


# --- what comes back ------------------------------------------------------------------------


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


def test_a_server_without_tls_is_not_asked_for_it(server: Server) -> None:
    with pytest.raises(errors.UnreachableError, match="No secure connection"):
        Transport(server.url.replace("http:", "https:"), retries=0).get("/health")


def test_a_netrc_password_does_not_replace_the_key(
    server: Server, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine localhost login a password b\ndefault login a "
                                    "password b\n")  # fmt: skip
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    request = requests.Request("GET", "http://other.example/", auth=Transport(
        "http://other.example", api_key="k1")._session.auth).prepare()  # fmt: skip
    assert request.headers["Authorization"] == "Bearer k1"


@given(st.data())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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
