#!/usr/bin/env python3
"""Two real servers behind vllm-router: one is killed under load, and started again. How many
requests were lost?

    python scripts/failover.py [--threads 4] [--phase-requests 60] [--json FILE]

Every answer is compared with the scores that one server alone gives. Exit status 1 when a request
was lost, answered wrongly, or a server got nothing to do while it was healthy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PAIRS = [
    ("How do I water a cactus?", text)
    for text in (
        "Water a cactus every two weeks.", "The train leaves at noon.", "仙人掌要少浇水。",
        "A cactus needs sun.", "Bread is baked in the morning.", "Too much water kills it.",
    )
]  # fmt: skip
PHASE_SECONDS = 300.0
SAME = 1e-4  # float32: a score depends a little on what it was batched with


@dataclass
class Count:
    """What the clients saw. retried: attempts more, by the client. wrong: answered, but not with
    the scores that one server alone gives."""

    sent: int = 0
    answered: int = 0
    retried: int = 0
    wrong: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return self.sent - self.answered


class Load:
    """Threads that ask without a pause until they are told to stop."""

    def __init__(self, url: str, expected: list[float], threads: int) -> None:
        self.count, self._lock, self._stop = Count(), threading.Lock(), threading.Event()
        self._url, self._expected = url, expected
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def end(self) -> Count:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.count

    def wait_for(self, more: int, and_then: Callable[[], bool] = lambda: True) -> None:
        """Until so many more requests were answered, and the condition holds."""
        wanted, deadline = self.count.answered + more, time.monotonic() + PHASE_SECONDS
        while self.count.answered < wanted or not and_then():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not enough answers in {PHASE_SECONDS:.0f} s: {self.count}")
            time.sleep(0.1)

    def _ask(self) -> None:
        from rerank_kit.client.transport import Transport
        from rerank_kit.errors import RerankKitError

        transport = Transport(self._url)
        body = {"model": "practice", "text_1": PAIRS[0][0], "text_2": [text for _, text in PAIRS]}
        while not self._stop.is_set():
            with self._lock:
                self.count.sent += 1
            try:
                data = transport.post("/v1/score", body)["data"]
                scores = [one["score"] for one in sorted(data, key=lambda one: one["index"])]
            except RerankKitError as error:
                with self._lock:
                    self.count.errors.append(str(error))
                continue
            near = all(abs(a - b) < SAME for a, b in zip(scores, self._expected, strict=True))
            with self._lock:
                self.count.answered += 1
                self.count.wrong += not near
        with self._lock:
            self.count.retried += transport.attempts_repeated


def main() -> int:
    options = _options()
    from rerank_kit import launch, machine
    from rerank_kit.scale import Router

    with tempfile.TemporaryDirectory(prefix="rerank-kit-failover-") as state:
        os.environ["RERANK_KIT_STATE_DIR"] = state
        first = launch("practice", port=machine.free_port())
        with first, launch("practice", port=machine.free_port()) as second:
            with Router([first.url, second.url]) as router:
                result = _trial(router, first, second, options)
    print(_table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if result["lost"] == 0 and result["wrong"] == 0 else 1


def _trial(router, first, second, options) -> dict:  # type: ignore[no-untyped-def]
    from rerank_kit import launch

    body = {"model": "practice", "text_1": PAIRS[0][0], "text_2": [text for _, text in PAIRS]}
    alone = requests.post(f"{first.url}/v1/score", json=body, timeout=60).json()["data"]
    expected = [one["score"] for one in alone]
    load = Load(router.url, expected, options.threads)
    restored = None
    try:
        started = time.monotonic()
        load.wait_for(options.phase_requests)
        both = {server.url: _requests_done(server.url) for server in (first, second)}
        _say(f"both serve: {', '.join(str(int(number)) for number in both.values())} requests")
        for process in second.record.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # it went with the one before
                process.kill()
        killed_at = time.monotonic()
        _say("one is killed (SIGKILL)")
        load.wait_for(options.phase_requests, lambda: not router.workers()[second.url])
        noticed = time.monotonic() - killed_at
        _say("the router has noticed; the other one serves alone")
        restored = launch("practice", port=second.record.port)
        load.wait_for(
            options.phase_requests,
            lambda: router.workers()[second.url] and _requests_done(second.url) > 5,
        )
        _say(f"it is back, and serves again: {int(_requests_done(second.url))} requests")
        seconds = time.monotonic() - started
    finally:
        count = load.end()
        metrics = requests.get(router.metrics_url, timeout=10).text
        if restored is not None:
            restored.stop(force=True)
    return asdict(count) | {
        "lost": count.lost,
        "requests_of_each_before": list(both.values()),
        "retried_by_router": _sum_of("vllm_router_retries_total", metrics),
        "noticed_after_seconds": round(noticed, 1),
        "seconds": round(seconds, 1),
        "pairs_a_request": len(PAIRS),
        "threads": options.threads,
    }


def _requests_done(url: str) -> float:
    try:
        metrics = requests.get(f"{url}/metrics", timeout=10).text
        return _sum_of("vllm:request_success_total", metrics)
    except requests.RequestException:
        return 0.0


def _sum_of(name: str, metrics: str) -> float:
    found = re.findall(rf"(?m)^{re.escape(name)}(?:{{[^}}]*}})? ([\d.e+]+)$", metrics)
    return sum(map(float, found))


def _table(result: dict) -> str:
    lines = [
        ("requests sent", result["sent"]),
        ("answered", result["answered"]),
        ("with wrong scores", result["wrong"]),
        ("sent again by the router", int(result["retried_by_router"])),
        ("sent again by the client", result["retried"]),
        ("lost", result["lost"]),
    ]
    return "\n".join(f"{name:26} {number:6}" for name, number in lines)


def _say(text: str) -> None:
    print(text, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=4, help="clients at a time (default 4)")
    parser.add_argument(
        "--phase-requests", type=int, default=60, metavar="N",
        help="requests answered before, during and after the failure (default 60 each)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
