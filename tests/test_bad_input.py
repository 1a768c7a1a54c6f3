"""Bad texts and bad settings: one clear sentence and a typed error each, before a wrong score can
come of it. vLLM's own errors are asked of the real server. Bad answers: test_bad_answers.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from clear_errors import is_clear

from rerank_kit import Reranker, Server, errors
from rerank_kit.client.transport import Transport

NAN, INFINITE = float("nan"), float("inf")


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
    assert same[0] == pytest.approx(same[1], abs=1e-5)


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


# --- the address and the key ----------------------------------------------------------------


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
