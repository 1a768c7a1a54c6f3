"""The load generator: requests side by side, what they took, and what the server really computed.

Closed loop: so many requests are always under way, as a batch job does it; what counts is pairs
per second. Open loop: requests arrive at their own times, as people do it; what counts is how long
each one waits, counted from its arrival and not from when we got round to sending it.
"""

from __future__ import annotations

import math
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rerank_kit.client import Reranker
from rerank_kit.client.engines import Batch
from rerank_kit.errors import InputError, RequestError, RerankKitError
from rerank_kit.server.live import LiveView, look
from rerank_kit.tuning.load_report import Load, LoadReport, percentile
from rerank_kit.tuning.workload import Request, Workload

#: Requests of an open loop that may be under way at once; later ones wait here, and that counts.
_MOST_UNDER_WAY = 256


@dataclass(frozen=True)
class _Done:
    seconds: float
    ended_at: float
    pairs: int
    tokens: int
    error: str = ""


def run_load(
    url: str | Reranker,
    workload: Workload,
    load: Load,
    *,
    first_request: int = 0,
    on_progress: Callable[[int], object] = lambda done: None,
) -> LoadReport:
    """Send a load to a running server and report. Requests are not repeated when they fail: a
    failure counts as one. first_request: where in the workload to begin; a second load on the same
    server must begin at the first one's `next_request`, or the cache answers. on_progress: told
    how many are answered; what it raises ends the load.

    Raises the RequestErrors when the server cannot be reached, or when every request fails.
    """
    client = url if isinstance(url, Reranker) else Reranker(url)
    sender = _Sender(client, workload)
    numbered = enumerate(workload.requests(first_request), first_request)
    for _, (_, request) in zip(range(load.warm_up_requests), numbered, strict=False):
        sender.send(request)  # an error here is the caller's to know
    before = _look(client.url)
    started = time.monotonic()
    if load.rate is None:
        done = _closed(sender, load, numbered, on_progress)
    else:
        done = _open(sender, load, numbered, on_progress)
    after = _look(client.url, before)
    next_request = next(numbered)[0]
    return _report(workload, load, done, started, after, next_request, sender.last_error)


class _Sender:
    def __init__(self, client: Reranker, workload: Workload) -> None:
        self._client = client
        self._engine, self._served = client.engine, client.served
        self._instruction = workload.instruction
        self.last_error: RerankKitError | None = None

    def send(self, request: Request) -> int:
        """Tokens that the server says it read."""
        pairs = tuple((request.query, text) for text in request.documents)
        batch = Batch(pairs, self._served.name, self._instruction)
        return self._engine.score(self._client.transport, batch).prompt_tokens or 0

    def timed(self, request: Request, arrived_at: float) -> _Done:
        try:
            tokens, error = self.send(request), ""
        except RequestError as failure:
            self.last_error = failure
            tokens, error = 0, failure.kind
        ended = time.monotonic()
        pairs = 0 if error else len(request.documents)
        return _Done(ended - arrived_at, ended, pairs, tokens, error)


Numbered = Iterator[tuple[int, Request]]


def _closed(
    sender: _Sender, load: Load, numbered: Numbered, on_progress: Callable[[int], object]
) -> list[_Done]:
    results: queue.Queue[_Done | None] = queue.Queue()
    taking = threading.Lock()
    left = [load.requests if load.requests is not None else math.inf]
    end = time.monotonic() + (load.seconds if load.requests is None else math.inf)

    def take() -> Request | None:
        with taking:
            if left[0] < 1 or time.monotonic() >= end:
                return None
            left[0] -= 1
            return next(numbered)[1]

    def work() -> None:
        while (request := take()) is not None:
            results.put(sender.timed(request, time.monotonic()))
        results.put(None)

    for _ in range(load.concurrency):
        threading.Thread(target=work, daemon=True).start()
    done: list[_Done] = []
    running = load.concurrency
    try:
        while running:
            result = results.get()
            if result is None:
                running -= 1
            else:
                done.append(result)
                on_progress(len(done))
    finally:
        left[0] = 0  # interrupted: nobody takes another request
    return done


def _open(
    sender: _Sender, load: Load, numbered: Numbered, on_progress: Callable[[int], object]
) -> list[_Done]:
    """Arrivals at random times (a Poisson process), whatever the server does meanwhile."""
    assert load.rate is not None
    chance = random.Random(load.seed)
    results: queue.Queue[_Done] = queue.Queue()
    free = threading.Semaphore(_MOST_UNDER_WAY)

    def work(request: Request, arrived_at: float) -> None:
        with free:
            results.put(sender.timed(request, arrived_at))

    started = time.monotonic()
    arrival, sent = started, 0
    while True:
        arrival += chance.expovariate(load.rate)
        over = load.requests is None and arrival - started >= load.seconds
        if over or load.requests is not None and sent >= load.requests:
            break
        time.sleep(max(0.0, arrival - time.monotonic()))
        request = next(numbered)[1]
        threading.Thread(target=work, args=(request, arrival), daemon=True).start()
        sent += 1
    done: list[_Done] = []
    while len(done) < sent:
        done.append(results.get())
        on_progress(len(done))
    return done


def _report(
    workload: Workload, load: Load, done: list[_Done], started: float, after: LiveView | None,
    next_request: int, last_error: RerankKitError | None,
) -> LoadReport:  # fmt: skip
    good = [one for one in done if not one.error]
    if not good:
        raise last_error or InputError("The load was too short for a single request.")
    errors: dict[str, int] = {}
    for one in done:
        if one.error:
            errors[one.error] = errors.get(one.error, 0) + 1
    times = sorted(one.seconds for one in good)
    return LoadReport(
        name=workload.name,
        load=load,
        documents_per_request=workload.documents_per_request,
        seconds=max(one.ended_at for one in good) - started,
        requests=len(good),
        pairs=sum(one.pairs for one in good),
        failed=len(done) - len(good),
        prompt_tokens=sum(one.tokens for one in good),
        cached_share=after.prefix_hit_share if after is not None else None,
        seconds_mean=sum(times) / len(times),
        seconds_p50=percentile(times, 50),
        seconds_p95=percentile(times, 95),
        seconds_p99=percentile(times, 99),
        errors=errors,
        host_gib=after.host_gib if after is not None else None,
        gpu_gib=after.gpu_gib if after is not None else None,
        next_request=next_request,
    )


def _look(url: str, before: LiveView | None = None) -> LiveView | None:
    """vLLM's own counters; None behind a router, or with another engine. After a load they are
    read until the last step is in them: vLLM writes them once a step, and may be behind."""
    try:
        view = look(url, before, timeout_seconds=30.0)
        for _ in range(20):
            if before is None or view.pairs_running == 0:
                break
            time.sleep(0.1)
            view = look(url, before, timeout_seconds=30.0)
        return view
    except RequestError:
        return None
