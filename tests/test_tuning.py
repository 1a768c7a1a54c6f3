"""Load tests, the limit, and the search for settings, on the live practice server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from processes import clean, cli, wait_until

from rerank_kit import Server, models
from rerank_kit.errors import InputError, UnreachableError
from rerank_kit.server import settings_for
from rerank_kit.tuning import Load, measure_limit, run_load, shipped_workload
from rerank_kit.tuning.agreement import agreement
from rerank_kit.tuning.context import context_advice
from rerank_kit.tuning.knobs import (
    CPU_KNOBS,
    Seen,
    kit_choices,
    knobs_for,
    vllm_defaults,
    with_choices,
)
from rerank_kit.tuning.limit import Limit, flops_per_pair, percent_of_limit
from rerank_kit.tuning.load_report import percentile
from rerank_kit.tuning.search import Guard, Search
from rerank_kit.tuning.texts import LocalTokenizer
from rerank_kit.tuning.trial import Trial
from rerank_kit.tuning.workload import Workload, parse_mix, read_workload

PRACTICE = models.practice_model_dir()


# What is sent.


def test_no_pair_is_sent_twice() -> None:
    workload = Workload("small", ("a", "b"), ("x", "y", "z"), documents_per_request=4)
    sent = [
        (request.query, text)
        for request in islice(workload.requests(), 50)
        for text in request.documents
    ]
    assert len(set(sent)) == len(sent) == 200


def test_requests_are_the_same_at_every_call_and_can_go_on() -> None:
    workload = shipped_workload("design", documents_per_request=3)
    assert list(islice(workload.requests(), 9))[5:] == list(islice(workload.requests(5), 4))
    assert workload.fingerprint != replace(workload, documents_per_request=4).fingerprint


def test_documents_are_cut_so_that_pairs_have_the_wanted_tokens() -> None:
    tokenizer = LocalTokenizer(PRACTICE)
    one_query = replace(shipped_workload("design"), queries=("a lamp for the desk",))
    cut = one_query.with_pair_tokens(((128, 3), (300, 1)), tokenizer)
    around = tokenizer.overhead("a lamp for the desk", None)
    lengths = [len(tokenizer.borders(text)) + around for text in cut.documents[:8]]
    assert all(abs(found - wanted) <= 1 for found, wanted in zip(
        lengths, (128, 128, 128, 300) * 2, strict=True))  # fmt: skip
    with pytest.raises(InputError, match="no room for a document"):
        one_query.with_pair_tokens(((around, 1),), tokenizer)


@pytest.mark.parametrize("text", ["", "x", "128:", "0", "128:0", "-5", "128;512"])
def test_a_mix_that_is_none(text: str) -> None:
    if text == "128:":
        assert parse_mix(text) == ((128, 1),)
    else:
        with pytest.raises(InputError):
            parse_mix(text)


def test_own_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("one\ntwo\n", encoding="utf-8")
    (tmp_path / "d.jsonl").write_text('{"text": "猫"}\n{"text": "狗"}\n', encoding="utf-8")
    workload = read_workload(str(tmp_path / "q.txt"), str(tmp_path / "d.jsonl"))
    assert (workload.queries, workload.documents) == (("one", "two"), ("猫", "狗"))
    with pytest.raises(InputError, match="Both files"):
        read_workload(str(tmp_path / "q.txt"), None)


# What it is measured against.


def test_work_of_a_pair_is_that_of_the_published_shapes() -> None:
    # TFLOP per 512-token pair, worked out by hand from layers, widths and causal attention
    for name, wanted in (("0.6B", 0.481), ("4B", 3.798), ("8B", 7.190)):
        assert flops_per_pair(models.facts_of(name), 512) / 1e12 == pytest.approx(wanted, rel=2e-3)
    facts = models.facts_of("0.6B")
    assert flops_per_pair(facts, 128, 64) < flops_per_pair(facts, 128) / 1.9
    limit = Limit(flops_per_pair(facts, 128) * 10, "bfloat16", "x")
    assert percent_of_limit(limit, facts, 5.0, 128, 0.0) == pytest.approx(50)


def test_the_limit_is_measured_and_lies_above_a_plain_product_in_this_process() -> None:
    import time

    import torch

    found = measure_limit("float32", seconds=1.0)
    a = torch.randn(512, 512)
    started = time.perf_counter()
    for _ in range(10):
        a @ a
    plain = 10 * 2 * 512**3 / (time.perf_counter() - started)
    assert found.flops_per_second > 0.3 * plain, "other work on the machine aside"
    assert found.dtype == "float32" and "CPU" in found.device


def test_agreement_counts_what_a_user_would_see() -> None:
    same = agreement([[0.9, 0.5, 0.1]], [[0.8, 0.4, 0.2]])
    assert (same.order_kept, same.same_first) == (1.0, 1.0)
    turned = agreement([[0.9, 0.5, 0.1]], [[0.1, 0.5, 0.9]])
    assert (turned.order_kept, turned.same_first) == (0.0, 0.0)
    tie = agreement([[0.900, 0.899]], [[0.5, 0.6]])
    assert (tie.order_kept, tie.same_first) == (1.0, 1.0), "a tie has no order to lose"


def test_percentiles() -> None:
    assert percentile([1.0], 99) == 1.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile(list(map(float, range(101))), 95) == 95.0


# The load itself.


def test_bench_measures_the_live_server(server: Server) -> None:
    done = cli(
        "bench", "--url", server.url, "--requests", "6", "--documents-per-request", "8",
        "--pair-tokens", "160", "--price-per-hour", "2", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["requests"], found["pairs"], found["failed"]) == (6, 48, 0)
    assert abs(found["tokens_per_pair"] - 160) < 12
    # about 70 of 160 tokens are shared, and found in blocks of 32
    assert 0.2 < found["cached_share"] < 0.65
    times = found["latency_seconds"]
    assert 0 < times["p50"] <= times["p95"] <= times["p99"]
    assert 0 < found["percent_of_limit"] < 100
    assert found["cost_per_thousand_queries"] > 0


def test_bench_prints_a_table(server: Server) -> None:
    done = cli("bench", "--url", server.url, "--requests", "2", "--no-limit",
               "--documents-per-request", "2")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pairs/s of" in done.stdout and "from the cache" in done.stdout


def test_open_loop_counts_the_waiting_from_the_arrival(server: Server) -> None:
    """Far more arrives than can be done: each one waits longer than the one before it, which a
    generator that waits for answers would never see."""
    workload = shipped_workload("design", documents_per_request=6)
    calm = run_load(server.url, workload, Load(concurrency=1, requests=4, warm_up_requests=1))
    flood = run_load(
        server.url, workload, Load(rate=200.0, requests=30, warm_up_requests=0),
        first_request=calm.next_request,
    )  # fmt: skip
    assert flood.requests == 30 and flood.failed == 0
    assert flood.seconds_p99 > 2 * calm.seconds_p50


def test_a_second_load_does_not_live_on_the_cache_of_the_first(server: Server) -> None:
    workload = shipped_workload("courses", documents_per_request=6)
    load = Load(concurrency=1, requests=4, warm_up_requests=0)
    first = run_load(server.url, workload, load, first_request=500)
    again = run_load(server.url, workload, load, first_request=first.next_request)
    assert first.cached_share is not None and again.cached_share is not None
    assert again.cached_share < first.cached_share + 0.2


def test_no_server_is_one_sentence() -> None:
    with pytest.raises(UnreachableError):
        run_load("http://127.0.0.1:9", shipped_workload("design"), Load(requests=1))
    done = cli("bench", "--url", "http://127.0.0.1:9", "--no-limit")
    assert done.returncode == 1 and "Traceback" not in done.stderr


# The search.


def test_the_profiles_own_choices_give_the_profiles_own_server() -> None:
    base = settings_for("practice")
    knobs = knobs_for(base)
    again = with_choices(base, knobs, kit_choices(base, knobs))
    assert sorted(again.vllm_arguments(1)) == sorted(base.vllm_arguments(1))
    assert again.environment == base.environment
    plain = with_choices(base, knobs, vllm_defaults(base, knobs))
    assert "--block-size" not in plain.vllm_arguments(1)
    assert "VLLM_CPU_NUM_OF_RESERVED_CPU" not in plain.environment


def test_a_setting_that_cannot_matter_is_not_tried() -> None:
    by_name = {knob.name: knob for knob in CPU_KNOBS}
    seen = Seen(128, 0.5, 90.0, 32, {"--max-num-batched-tokens": "2048", "--block-size": "32"})
    assert "fits one step" in by_name["--max-num-batched-tokens"].useless(seen, "4096")
    assert "90 %" in by_name["--renderer-num-workers"].useless(seen, "2")
    assert by_name["--block-size"].useless(replace(seen, cached_share=0.0), "32") == ""
    busy = replace(seen, pairs_at_once=400, percent_of_limit=20.0)
    assert by_name["--max-num-batched-tokens"].useless(busy, "4096") == ""
    with pytest.raises(InputError, match="no setting that is tuned"):
        knobs_for(settings_for("practice"), only=("color",))


def test_the_guards_refuse_a_fast_server_that_ranks_otherwise_or_is_too_large() -> None:
    base = settings_for("practice")
    knobs = knobs_for(base)
    search = Search(base, knobs, shipped_workload("design"), Guard(0.99, 2.0))
    search._reference = [[0.9, 0.5, 0.1]]
    slow = Trial({}, 10.0, 1, scores=[[0.9, 0.5, 0.1]])
    wrong = Trial({}, 99.0, 1, scores=[[0.1, 0.5, 0.9]])
    large = Trial({}, 99.0, 1, memory_gib=3.0, scores=[[0.9, 0.5, 0.1]])
    good = replace(large, memory_gib=1.0)
    verdicts = [search._judge("x", knobs[0], trial, slow)[0] for trial in (wrong, large, good)]
    assert verdicts == ["refused", "refused", "kept"]
    assert search._judge("x", knobs[0], replace(good, pairs_per_second=10.1), slow)[0] == "slower"


def test_the_context_is_worked_out_from_the_longest_pair() -> None:
    base = replace(settings_for("practice"), max_num_batched_tokens=512)
    texts = Workload("short", ("a lamp",), ("It hangs.", "It stands on the desk."))
    said = context_advice(base, texts)
    assert "--max-model-len 256 " in said and "KV cache instead of" in said
    assert context_advice(replace(base, max_model_len=256), texts) == ""


def test_a_remote_server_is_not_tuned() -> None:
    # scripts/test.sh exports RERANK_PROFILE=practice, with which this would tune for minutes.
    environment = os.environ | {"RERANK_URL": "http://127.0.0.1:9", "RERANK_PROFILE": "auto"}
    done = cli("tune", env=environment)
    assert done.returncode == 2 and "cannot be tuned" in done.stderr


@pytest.mark.full
def test_tune_is_interrupted_and_goes_on(own_state: Path) -> None:
    """SIGINT after the first start: nothing is left running, and the second call does not measure
    again what the first one did."""
    command = [
        sys.executable, "-m", "rerank_kit", "tune", "--profile", "practice", "--seconds", "2",
        "--concurrency", "1", "--pair-tokens", "128", "--documents-per-request", "16",
        "--only", "block-size", "--most-starts", "2", "--json",
    ]  # fmt: skip
    first = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    folder = own_state / "tuning"
    wait_until(lambda: list(folder.glob("*.json")), 240)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=300)[1]
    assert first.returncode == 130 and "interrupted" in said
    wait_until(lambda: clean(own_state), 180)
    second = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert second.returncode == 0, second.stderr
    found = json.loads(second.stdout)
    assert found["remembered"] >= 1 and found["starts"] <= 2
    start, step = found["steps"][:2]
    assert start["verdict"] == "start" and step["verdict"] in ("kept", "slower")
    # How fast it is depends on what else this machine does; what is chosen follows from it.
    assert (found["choices"]["--block-size"] == "32") == (step["verdict"] == "kept")
    assert step["measured"]["cached_share"] > 0.3 > start["measured"]["cached_share"]
    assert clean(own_state)


@pytest.mark.full
def test_forms_are_compared_on_labelled_queries(own_state: Path) -> None:
    done = cli("forms", "float32", "bfloat16", "--profile", "practice", "--corpus-name", "design",
               "--depth", "8", "--seconds", "1", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    exact, half = json.loads(done.stdout)["forms"]
    # BM25 reaches 0.28 there (scripts/search_gains.py): most answers are in the other language
    assert 0.2 < exact["quality"] <= 1 and exact["change"] is None
    assert abs(half["change"]["difference"]) < 0.05
    assert half["weights_gib"] == pytest.approx(exact["weights_gib"] / 2, rel=0.01)
    assert min(exact["pairs_per_second"], half["pairs_per_second"]) > 0
    assert clean(own_state)


def test_a_form_that_is_none_is_refused_before_anything_starts(own_state: Path) -> None:
    done = cli("forms", "bfloat16", "int3", "--profile", "practice")
    assert done.returncode == 2 and "int3" in done.stderr
    made = cli("forms", "awq", "--profile", "practice")
    assert made.returncode == 2 and "while loading" in made.stderr
    assert clean(own_state)
