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
from dataclasses import dataclass, field
from typing import Any

from rerank_kit.client import Reranker
from rerank_kit.client.engines import Batch
from rerank_kit.errors import InputError, RequestError, RerankKitError
from rerank_kit.server.live import LiveView, look
from rerank_kit.tuning.workload import Request, Workload

#: Requests of an open loop that may be under way at once; later ones wait here, and that counts.
_MOST_UNDER_WAY = 256


@dataclass(frozen=True)
class Load:
    """How requests are sent. rate: requests per second (open loop); None: closed loop with
    `concurrency` requests always under way. It ends after `seconds`, or after so many requests.
    warm_up_requests are sent before and not counted."""

    concurrency: int = 2
    rate: float | None = None
    seconds: float = 20.0
    requests: int | None = None
    warm_up_requests: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.seconds <= 0 or self.warm_up_requests < 0:
            raise InputError("A load needs at least one request at a time and some seconds.")
        if self.rate is not None and not (math.isfinite(self.rate) and self.rate > 0):
            raise InputError("The rate must be more than 0 requests per second.")


@dataclass(frozen=True)
class LoadReport:
    """What a load brought. seconds_*: of one request, from its arrival to its answer. cached_share:
    of the prompt tokens, those the server found in its prefix cache; None where it does not say.
    prompt_tokens counts all, computed_tokens only those that were really computed."""

    name: str
    load: Load
    documents_per_request: int
    seconds: float
    requests: int
    pairs: int
    failed: int
    prompt_tokens: int
    cached_share: float | None
    seconds_mean: float
    seconds_p50: float
    seconds_p95: float
    seconds_p99: float
    errors: dict[str, int] = field(default_factory=dict)
    host_gib: float | None = None
    gpu_gib: float | None = None
    next_request: int = 0

    @property
    def pairs_per_second(self) -> float:
        return self.pairs / self.seconds if self.seconds else 0.0

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_pair(self) -> float:
        return self.prompt_tokens / self.pairs if self.pairs else 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.prompt_tokens / self.seconds if self.seconds else 0.0

    @property
    def computed_tokens_per_second(self) -> float:
        """Without those from the cache."""
        return self.tokens_per_second * (1 - (self.cached_share or 0.0))

    def as_dict(self) -> dict[str, Any]:
        numbers = {
            "pairs_per_second": self.pairs_per_second,
            "requests_per_second": self.requests_per_second,
            "tokens_per_pair": self.tokens_per_pair,
            "tokens_per_second": self.tokens_per_second,
            "computed_tokens_per_second": self.computed_tokens_per_second,
            "cached_share": self.cached_share,
            "latency_seconds": {
                "mean": round(self.seconds_mean, 4), "p50": round(self.seconds_p50, 4),
                "p95": round(self.seconds_p95, 4), "p99": round(self.seconds_p99, 4),
            },
            "seconds": self.seconds,
            "host_gib": self.host_gib,
            "gpu_gib": self.gpu_gib,
        }  # fmt: skip
        rounded = {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in numbers.items()
        }
        return {
            "workload": self.name,
            "loop": "open" if self.load.rate is not None else "closed",
            "rate": self.load.rate,
            "concurrency": None if self.load.rate is not None else self.load.concurrency,
            "documents_per_request": self.documents_per_request,
            "requests": self.requests,
            "pairs": self.pairs,
            "failed": self.failed,
            "errors": self.errors,
            **rounded,
        }

    def rows(self) -> list[tuple[str, str]]:
        """(what, value with its unit)."""
        if self.load.rate is None:
            way = f"closed loop, {self.load.concurrency} at once"
        else:
            way = f"open loop, {self.load.rate:g} requests/s arriving"
        shares = {"p50": self.seconds_p50, "p95": self.seconds_p95, "p99": self.seconds_p99}
        times = "   ".join(f"{name} {seconds:.3f} s" for name, seconds in shares.items())
        cached = "-" if self.cached_share is None else f"{100 * self.cached_share:.0f} % of tokens"
        rows = [
            ("load", f"{way}, {self.documents_per_request} documents each, {self.name}"),
            ("sent", f"{self.requests} requests, {self.pairs} pairs in {self.seconds:.1f} s"),
            ("speed", f"{self.pairs_per_second:.1f} pairs/s of {self.tokens_per_pair:.0f} tokens"),
            ("tokens", f"{self.tokens_per_second:,.0f} tokens/s, "
                       f"{self.computed_tokens_per_second:,.0f} of them computed"),
            ("from the cache", cached),
            ("one request", times),
        ]  # fmt: skip
        if self.failed:
            said = ", ".join(f"{kind}: {number}" for kind, number in self.errors.items())
            rows.append(("FAILED", f"{self.failed} requests ({said})"))
        return rows

    def __str__(self) -> str:
        return "\n".join(f"{name:<16}{value}" for name, value in self.rows())


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
    server must begin at the first one's `next_request`, or the cache answers.

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
    while running:
        result = results.get()
        if result is None:
            running -= 1
        else:
            done.append(result)
            on_progress(len(done))
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


def percentile(ordered: list[float], percent: float) -> float:
    """The value that so many percent do not exceed, between neighbours where it falls there.

    >>> percentile([1.0, 2.0, 3.0], 50)
    2.0
    """
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
