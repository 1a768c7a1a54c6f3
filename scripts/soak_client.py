"""A server that is killed and restarted under many clients: is an answer lost, doubled or mixed up?

    python scripts/soak_client.py [--requests 20000] [--clients 32] [--kills 5] [--json FILE]

Starts a practice server of its own, learns the score of every known pair, then lets the clients
ask for random handfuls of them while the server's whole process group is killed (SIGKILL) and
started again on the same port. Every answer is compared with the known scores of its very pairs.
Exit code 0: everything sent was answered once, and right. It ends by itself and stops its server.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

PAIRS_KNOWN = 120
MOST_PAIRS_IN_A_REQUEST = 4
#: Above what batching moves a float32 score by (1e-6), below the least distance of two pairs
#: that share a request.
TOLERANCE = 1e-4


@dataclass
class Tally:
    """What the clients saw. answers: how often each request was answered."""

    sent: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    retried: int = 0
    mixed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lost(self) -> int:
        return self.sent - len(self.answers)

    def doubled(self) -> int:
        return sum(times > 1 for times in self.answers.values())


def known_pairs(count: int) -> list[tuple[str, str]]:
    """Pairs of all kinds of scores: right answers, wrong ones, numbered apart."""
    from rerank_kit.samples import SAMPLES

    rng = random.Random(11)
    pairs = []
    for number in range(count):
        asked, told = rng.choice(SAMPLES), rng.choice(SAMPLES)
        pairs.append((asked.query, f"{rng.choice(told.documents)} {number}"))
    return pairs


def handful(rng: random.Random, scores: list[float]) -> list[int]:
    """Pairs whose scores are apart, so that an exchange would be seen."""
    chosen: list[int] = []
    for place in rng.sample(range(len(scores)), MOST_PAIRS_IN_A_REQUEST * 2):
        if all(abs(scores[place] - scores[other]) > 10 * TOLERANCE for other in chosen):
            chosen.append(place)
        if len(chosen) == rng.randint(1, MOST_PAIRS_IN_A_REQUEST):
            break
    return chosen


def client_loop(
    url: str, seed: int, numbers: list[int], tally: Tally, pairs: list[tuple[str, str]],
    scores: list[float], retry_seconds: float, stop: threading.Event,
) -> None:  # fmt: skip
    from rerank_kit import Reranker, RerankKitError

    rng = random.Random(seed)
    client = Reranker(url, retry_seconds=retry_seconds)
    for number in numbers:
        if stop.is_set():
            break
        places = handful(rng, scores)
        with tally.lock:
            tally.sent += 1
        try:
            found = client.score([pairs[place] for place in places])
        except RerankKitError as error:
            with tally.lock:
                tally.failed.append(str(error))
            continue
        wanted = [scores[place] for place in places]
        right = len(found) == len(wanted) and all(
            abs(one - other) <= TOLERANCE for one, other in zip(found, wanted, strict=True)
        )
        with tally.lock:
            tally.answers[number] += 1
            if not right:
                tally.mixed.append(f"request {number}: {found} instead of {wanted}")
    with tally.lock:
        tally.retried += client.transport.attempts_repeated


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--retry-seconds", type=float, default=300)
    parser.add_argument("--limit-seconds", type=float, default=7200, help="give up after this")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside: stop the server
    with tempfile.TemporaryDirectory(prefix="rerank-kit-soak-") as state:
        os.environ["RERANK_KIT_STATE_DIR"] = state
        figures = soak(options)
    for name, value in figures.items():
        print(f"{name:<16}{value:>12,}" if isinstance(value, int) else f"{name:<16}{value!s:>12}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    bad = ("lost", "doubled", "mixed", "failed", "not_sent")
    return 1 if any(figures[name] for name in bad) or figures["kills"] < options.kills else 0


def soak(options: argparse.Namespace) -> dict[str, object]:
    from rerank_kit import Reranker, launch

    server = launch("practice", timeout_seconds=600)
    url, port = server.url, int(server.url.rsplit(":", 1)[1])
    began, tally, stop, kills = time.monotonic(), Tally(), threading.Event(), 0
    try:
        pairs = known_pairs(PAIRS_KNOWN)
        scores = Reranker(url).score(pairs)
        threads = [
            threading.Thread(
                target=client_loop, daemon=True,
                args=(url, seed, list(range(seed, options.requests, options.clients)), tally,
                      pairs, scores, options.retry_seconds, stop),
            )
            for seed in range(options.clients)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if time.monotonic() - began > options.limit_seconds:
                stop.set()
                break
            due = options.requests * (kills + 1) // (options.kills + 1)
            if kills < options.kills and len(tally.answers) >= due and server.record:
                os.killpg(server.record.pid, signal.SIGKILL)
                while server.record.is_alive():  # until then a launch would attach to it
                    time.sleep(0.05)
                kills += 1
                print(f"kill {kills}: after {len(tally.answers):,} answers", flush=True)
                server = launch("practice", port=port, timeout_seconds=600)
                print(f"        back at {time.monotonic() - began:.0f} s", flush=True)
            time.sleep(0.05)
        for thread in threads:
            thread.join(options.retry_seconds + 60)
    finally:
        stop.set()
        server.stop()
    for line in (*tally.mixed[:5], *tally.failed[:5]):
        print(line, file=sys.stderr)
    seconds = time.monotonic() - began
    return {
        "requests": options.requests,
        "clients": options.clients,
        "kills": kills,
        "sent": tally.sent,
        "not_sent": options.requests - tally.sent,
        "answered": len(tally.answers),
        "retried": tally.retried,
        "failed": len(tally.failed),
        "lost": tally.lost(),
        "doubled": tally.doubled(),
        "mixed": len(tally.mixed),
        "seconds": round(seconds),
    }


if __name__ == "__main__":
    sys.exit(main())
