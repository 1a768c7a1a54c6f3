"""The live view of a server: against the practice server while it works."""

from __future__ import annotations

import doctest
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import cli

from rerank_kit import Reranker, Server, errors
from rerank_kit.server import live

PAIRS = [("What is the capital of China?", f"City number {n} has a river.") for n in range(40)]


def test_a_look_counts_what_was_asked(server: Server, reranker: Reranker) -> None:
    before = live.look(server.url)
    reranker.score(PAIRS)
    after = live.look(server.url, before)
    assert after.pairs_done - before.pairs_done >= len(PAIRS)
    assert after.pairs_per_second is not None and after.pairs_per_second > 0
    assert after.seconds_per_pair is not None and after.seconds_per_pair > 0
    assert after.queue_seconds_per_pair is not None
    assert after.queue_seconds_per_pair <= after.seconds_per_pair
    # Forty documents of one query share its beginning, and the practice server caches it.
    assert after.prefix_hit_share is not None and 0.3 < after.prefix_hit_share <= 1
    assert 0 <= after.kv_cache_share <= 1
    assert after.host_gib is not None and 0.2 < after.host_gib < 10


def test_the_first_look_has_no_rates(server: Server) -> None:
    first = live.look(server.url)
    assert first.pairs_per_second is None and first.seconds_per_pair is None
    assert "speed" in dict(first.rows()) and dict(first.rows())["speed"] == "-"


def test_a_busy_server_shows_its_queue(server: Server, reranker: Reranker) -> None:
    """While pairs are scored without a pause, some look sees them running or waiting. (A fixed
    number of pairs was once scored between two looks.)"""
    seen = threading.Event()

    def keep_busy() -> None:
        while not seen.is_set():
            reranker.score(PAIRS * 5)

    work = threading.Thread(target=keep_busy)
    work.start()
    try:
        looks = live.watch(server.url, every_seconds=0.05, times=600)
        assert any(view.pairs_running + view.pairs_waiting > 0 for view in looks)
    finally:
        seen.set()
        work.join(timeout=300)


def test_numbers_are_added_over_engines_and_shares_are_not() -> None:
    text = (
        'vllm:num_requests_running{engine="0"} 2.0\nvllm:num_requests_running{engine="1"} 3.0\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.25\nvllm:kv_cache_usage_perc{engine="1"} 0.75\n'
        'vllm:e2e_request_latency_seconds_bucket{le="0.3"} 7.0\nnonsense\nbad value x y\n'
    )
    assert live.parse_metrics(text) == {
        "vllm:num_requests_running": 5.0, "vllm:kv_cache_usage_perc": 0.75,
    }  # fmt: skip


def test_a_server_that_was_started_anew_gives_no_negative_speed(server: Server) -> None:
    now = live.look(server.url)
    many = {**now.counters, "vllm:request_success_total": 1e9}
    earlier = live.LiveView("x", 0, 0, 10**9, 0.0, at=now.at - 5, counters=many)
    assert live.look(server.url, earlier).pairs_per_second is None


def test_nothing_at_the_address_is_said_as_such() -> None:
    with pytest.raises(errors.UnreachableError, match="Nothing answers"):
        live.look("http://127.0.0.1:9")


def test_status_watch_prints_one_object(server: Server) -> None:
    done = cli("status", "--watch", "--json")
    (seen,) = json.loads(done.stdout)["servers"]
    assert done.returncode == 0 and seen["url"] == server.url
    assert seen["pairs_running"] >= 0 and seen["pairs_per_second"] is not None
    assert seen["gpu_gib"] is None or seen["gpu_gib"] > 0


def test_status_watch_ends_cleanly_with_ctrl_c(server: Server) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "rerank_kit", "status", "--watch"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline().strip() == server.url
    while "KV cache in use" not in child.stdout.readline():
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=300)
    assert (child.returncode, error) == (0, "")
    assert server.record is not None and server.record.is_alive()


def test_status_watch_without_a_server(own_state: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RERANK_URL"}
    done = cli("status", "--watch", "--json", env=environment)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["kind"] == "no_server"


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(live).failed == 0
