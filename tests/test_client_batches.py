"""Many queries, bounded requests, a bad network: order kept, nothing lost, nothing doubled.
Every score is compared with the score that the same server gives the same pair alone."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hostile_peers import HTML
from relay import Fault, relay

from rerank_kit import AsyncReranker, Reranker, Server, errors
from rerank_kit.client import jobs as jobs_module
from rerank_kit.client import scoring
from rerank_kit.client.away import AwayNotice
from rerank_kit.client.jobs import Pair
from rerank_kit.client.scores import probability
from rerank_kit.samples import SAMPLES

QUERY, DOCUMENTS = SAMPLES[0].query, list(SAMPLES[0].documents)
JOBS = [(sample.query, sample.documents) for sample in SAMPLES]


def scores_by_index(ranking: object) -> list[float]:
    return [hit.score for hit in sorted(ranking, key=lambda hit: hit.index)]


def close(found: list[float]) -> object:
    return pytest.approx(found, abs=1e-5)


def test_many_queries_in_one_request_rank_as_each_alone(server: Server) -> None:
    with relay(server.url) as network:
        jobs = [*JOBS, ("nothing to rank", []), ("one", ["single"])]
        together = Reranker(network.url).rank_many(jobs)
        assert len(network.bodies("/v1/score")) == together.requests == 1
    alone = [Reranker(server.url).rank(*job) for job in jobs]
    for many, one in zip(together, alone, strict=True):
        assert [hit.index for hit in many] == [hit.index for hit in one]
        assert many.scores == close(one.scores)
    assert [ranking.query for ranking in together] == [query for query, _ in jobs]
    assert together.prompt_tokens == sum(one.prompt_tokens or 0 for one in alone)


def test_a_shared_query_travels_once(server: Server) -> None:
    with relay(server.url) as network:
        Reranker(network.url).rank(QUERY, DOCUMENTS)
    sent = json.loads(network.bodies("/v1/score")[0])
    assert sent["queries"] == [QUERY] and len(sent["documents"]) == len(DOCUMENTS)


def test_requests_are_bounded_in_pairs_and_bytes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "PAIRS_PER_REQUEST", 4)
    monkeypatch.setattr(scoring, "BYTES_PER_REQUEST", 900)
    texts = [f"record {i} " + "x" * (300 if i % 3 == 0 else 3) for i in range(11)]
    with relay(server.url) as network:
        ranking = Reranker(network.url).rank("record 7", texts)
        sent = [json.loads(body)["documents"] for body in network.bodies("/v1/score")]
    assert sorted(text for batch in sent for text in batch) == sorted(texts)
    assert all(len(batch) <= 4 and sum(map(len, batch)) <= 900 for batch in sent)
    whole = Reranker(server.url).rank("record 7", texts)
    monkeypatch.undo()
    assert scores_by_index(ranking) == close(scores_by_index(whole))


def test_each_pair_has_its_own_instruction(reranker: Reranker) -> None:
    told = "Find poems about the sea"
    pairs = [Pair("q", "a"), Pair("q", "a", told), Pair("r", "b"), Pair("r", "b", told)]
    outcomes = [outcome.score for outcome in reranker.score_pairs(pairs)]
    plain = reranker.score([("q", "a"), ("r", "b")])
    wanted = reranker.score([("q", "a"), ("r", "b")], told)
    assert outcomes == close([plain[0], wanted[0], plain[1], wanted[1]])


def test_threshold_top_n_and_no_documents(reranker: Reranker) -> None:
    whole = reranker.rank(QUERY, DOCUMENTS)
    middle = whole.scores[2]
    kept = reranker.rank(QUERY, DOCUMENTS, threshold=middle - 1e-5)
    assert len(kept) == 3 and min(kept.scores) >= middle - 1e-5
    assert len(reranker.rank(QUERY, DOCUMENTS, top_n=1, threshold=0.0)) == 1
    assert len(reranker.rank(QUERY, DOCUMENTS, threshold=1.5)) == 0
    bare = reranker.rank(QUERY, DOCUMENTS, return_documents=False)
    assert [hit.text for hit in bare] == [""] * 5 and "text" not in bare[0].as_dict()


def test_raw_scores_are_the_logits_of_the_probabilities(reranker: Reranker) -> None:
    raw = reranker.rank(QUERY, DOCUMENTS, raw_scores=True)
    plain = reranker.rank(QUERY, DOCUMENTS)
    assert raw.raw_scores and [hit.index for hit in raw] == [hit.index for hit in plain]
    assert [probability(score) for score in raw.scores] == close(plain.scores)
    assert any(score < 0 for score in raw.scores)
    assert "█" in raw._repr_mimebundle_()["text/html"]


def test_tokens_and_time_are_counted(reranker: Reranker) -> None:
    ranking = reranker.rank(QUERY, DOCUMENTS)
    counted = sum(
        reranker.tokenizer.overhead(QUERY, None) + reranker.tokenizer.count(text)
        for text in DOCUMENTS
    )
    assert ranking.prompt_tokens == pytest.approx(counted, abs=len(DOCUMENTS))
    assert 0 < (ranking.seconds or 0) < 300


def test_the_async_twin_gives_the_same_and_keeps_its_bound(server: Server) -> None:
    under_way, most = 0, 0
    lock = threading.Lock()

    def count(path: str, body: bytes, number: int) -> Fault | None:
        nonlocal under_way, most
        if path == "/v1/score":
            with lock:
                under_way += 1
                most = max(most, under_way)
            try:  # work that others can overlap with
                Reranker(server.url, model="practice").score([("a", "b")])
            finally:
                with lock:
                    under_way -= 1
        return None

    async def ask(url: str) -> tuple[list[object], object, list[float]]:
        async with AsyncReranker(url, concurrency=3) as client:
            calls = [client.rank(*JOBS[i % 3]) for i in range(9)]
            rankings = await asyncio.gather(*calls)
            return list(rankings), await client.rank_many(JOBS), await client.score([("a", "b")])

    with relay(server.url, count) as network:
        rankings, many, scores = asyncio.run(ask(network.url))
    alone = [Reranker(server.url).rank(*job) for job in JOBS]
    for place, ranking in enumerate(rankings):
        assert ranking.scores == close(alone[place % 3].scores)
    assert [one.scores for one in many] == [close(one.scores) for one in alone]
    assert len(scores) == 1 and 1 <= most <= 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault(),
        Fault(after=True),
        Fault(503, HTML, {"Retry-After": "0"}),
        Fault(502, HTML),
        Fault(429, b'{"error": "busy"}'),
        Fault(500, b'{"error": {"message": "EngineCore encountered an issue."}}'),
        Fault(500, b'{"error": {"message": "a passing fault"}}'),
    ],
    ids=lambda fault: f"{fault.status}{'-after' if fault.after else ''}",
)
def test_a_request_that_fails_twice_is_repeated_not_doubled(server: Server, fault: Fault) -> None:
    with relay(server.url, lambda path, body, n: fault if n in (2, 3) else None) as network:
        client = Reranker(network.url)
        assert client.model == "practice"
        ranking = client.rank(QUERY, DOCUMENTS)
    assert scores_by_index(ranking) == close(scores_by_index(Reranker(server.url).rank(
        QUERY, DOCUMENTS)))  # fmt: skip
    assert [hit.rank for hit in ranking] == [1, 2, 3, 4, 5]
    assert client.transport.attempts_repeated == 2


def test_a_server_that_was_there_may_be_away_for_a_while(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """And a wait that a person notices is not silent."""
    with relay(server.url) as network:
        client = Reranker(network.url, retry_seconds=60)
        before = client.rank(QUERY, DOCUMENTS)
        network.close()
        back = threading.Timer(6, network.open)
        back.start()
        after = client.rank(QUERY, DOCUMENTS)
        back.join()
    assert caplog.messages == [
        f"{network.url} does not answer; asking again for up to 60 seconds.",
        f"{network.url} answers again.",
    ]
    assert after.scores == close(before.scores)
    assert client.transport.attempts_repeated >= 2


def test_many_who_wait_say_it_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RERANK_KIT_LANGUAGE", "zh")
    notice = AwayNotice("http://127.0.0.1:8000", 90)
    notice.away(1.0)
    notice.back()
    assert caplog.messages == []
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(notice.away, [4.0] * 64))
        list(pool.map(lambda _: notice.back(), range(64)))
    assert caplog.messages == [
        "http://127.0.0.1:8000 没有回应；最多再试 90 秒。", "http://127.0.0.1:8000 恢复回应了。"
    ]  # fmt: skip


def test_the_time_to_wait_for_it_has_an_end(server: Server) -> None:
    with relay(server.url) as network:
        client = Reranker(network.url, retry_seconds=1)
        assert client.model == "practice"
        network.close()
        with pytest.raises(errors.UnreachableError, match="Nothing answers"):
            client.score([("a", "b")])
        network.open()


def test_a_bad_request_is_never_repeated(server: Server) -> None:
    refused = Fault(400, b'{"error": {"message": "no", "code": 400}}')
    with relay(server.url, lambda path, body, n: refused if "score" in path else None) as network:
        with pytest.raises(errors.BadRequestError):
            Reranker(network.url).score([("a", "b")])
        assert len(network.bodies("/v1/score")) == 1


def test_a_proxy_with_a_size_limit_gets_smaller_requests(server: Server) -> None:
    def limit(path: str, body: bytes, number: int) -> Fault | None:
        return Fault(413, HTML) if len(body) > 1500 else None

    texts = [f"record {i} {'x' * 200}" for i in range(12)] + ["y" * 3000]
    with relay(server.url, limit) as network:
        ranking = Reranker(network.url).rank("record 3", texts)
    assert len(ranking) == 12 and [one.index for one in ranking.unscored] == [12]
    assert "takes no request of this size" in ranking.unscored[0].reason
    assert ranking.scores == close(Reranker(server.url).rank("record 3", texts[:12]).scores)


@pytest.mark.parametrize("status", [404, 401, 403])
def test_a_proxy_that_lets_only_the_scores_through_still_scores(
    server: Server, status: int
) -> None:
    """A document that is too long is found by halves. Story: a Caddy that answered 401 to every
    path but three made one long document fail all the others, as if the key were wrong."""
    only = ("/v1/score",) if status == 404 else ("/v1/score", "/v1/models")
    gone = Fault(status, b'{"detail":"no"}')
    with relay(server.url, lambda path, body, n: None if path in only else gone) as network:
        ranking = Reranker(network.url).rank("word", [*DOCUMENTS, "word " * 6000, "last"])
    assert sorted(hit.index for hit in ranking) == [0, 1, 2, 3, 4, 6]
    assert [one.index for one in ranking.unscored] == [5]
    assert "too long" in ranking.unscored[0].reason
    assert any("not scored: document 5" in note for note in ranking.notes)


def test_a_proxy_set_for_the_internet_is_not_used_for_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert len(Reranker(server.url).rank("a", ["b"])) == 1


def test_the_first_error_ends_a_long_call(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "PAIRS_PER_REQUEST", 1)
    refused = Fault(401, b'{"error":"Unauthorized"}')
    with relay(server.url, lambda p, b, n: refused if "score" in p else None) as network:
        with pytest.raises(errors.AuthError):
            Reranker(network.url).rank("q", [str(i) for i in range(50)])
        assert len(network.bodies("/v1/score")) < 50


def test_work_in_parallel_gives_every_result_once() -> None:
    found = list(jobs_module.in_parallel(lambda n: n * n, list(range(200)), 8))
    assert sorted(found) == [n * n for n in range(200)]


@pytest.mark.parametrize("jobs", ["ab", [("q",)], ["qd"], [("q", "not a list")], [(1, ["a"])], 5])
def test_bad_jobs(reranker: Reranker, jobs: object) -> None:
    with pytest.raises(errors.InputError):
        reranker.rank_many(jobs)  # type: ignore[arg-type]
