"""How much time the client adds to a bare request: rank() against requests.post(), 100 documents.

    python scripts/bench_client.py [--url U] [--documents 100] [--rounds 30] [--json FILE]

Both talk to the same server in turn (A B B A ...), so that a busy machine slows both alike. The
figure is the median of the ratios of neighbours; the aim is at most 3 percent. Beside it stand the
quickest of each, and the time spent in the client itself, without the server's share: the work
before and after its requests. The server's own wobble is often larger than 3 percent, so the exit
status goes by the client's own time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import requests

from rerank_kit import Reranker
from rerank_kit.client.reranker import default_url

AIM_PERCENT = 3.0
QUERY = "how to fix redis connection timeout"
TEXT = "Redis connection timeouts are usually fixed by raising the client timeout. Record {}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url")
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    options = parser.parse_args()
    url = options.url or default_url()
    documents = [TEXT.format(number) for number in range(options.documents)]
    client = Reranker(url)
    session = requests.Session()
    session.trust_env = False
    body = {"model": client.model, "query": QUERY, "documents": documents}
    spent_waiting = 0.0

    def bare() -> list[int]:
        answer = session.post(f"{url}/v1/rerank", json=body, timeout=300)
        answer.raise_for_status()
        return [row["index"] for row in answer.json()["results"]]

    def ours() -> list[int]:
        return [hit.index for hit in client.rank(QUERY, documents)]

    post = client.transport.post

    def timed_post(*args: object, **kwargs: object) -> object:
        nonlocal spent_waiting
        began = time.perf_counter()
        try:
            return post(*args, **kwargs)  # type: ignore[arg-type]
        finally:
            spent_waiting += time.perf_counter() - began

    same_order = bare() == ours()  # warm-up of both, and the same answer
    client.transport.post = timed_post  # type: ignore[method-assign]
    seconds: dict[str, list[float]] = {"bare": [], "client": []}
    own: list[float] = []
    for number in range(options.rounds):
        order = [("bare", bare), ("client", ours)]
        for name, call in order if number % 2 else order[::-1]:
            spent_waiting = 0.0
            began = time.perf_counter()
            call()
            took = time.perf_counter() - began
            seconds[name].append(took)
            if name == "client":
                own.append(took - spent_waiting)
    bare_ms = 1000 * statistics.median(seconds["bare"])
    client_ms = 1000 * statistics.median(seconds["client"])
    own_ms = 1000 * statistics.median(own)
    ratios = [ours / plain for plain, ours in zip(seconds["bare"], seconds["client"], strict=True)]
    overhead = 100 * (statistics.median(ratios) - 1)
    quickest = 100 * (min(seconds["client"]) / min(seconds["bare"]) - 1)
    figures = {
        "documents": options.documents,
        "rounds": options.rounds,
        "bare_ms": round(bare_ms, 2),
        "client_ms": round(client_ms, 2),
        "overhead_percent": round(overhead, 2),
        "overhead_of_the_quickest_percent": round(quickest, 2),
        "client_own_ms": round(own_ms, 2),
        "client_own_percent": round(100 * own_ms / bare_ms, 2),
        "same_order": same_order,
    }
    print(f"{'requests.post':<28}{bare_ms:>10.1f} ms   (median of {options.rounds})")
    print(f"{'Reranker.rank':<28}{client_ms:>10.1f} ms")
    print(f"{'difference':<28}{overhead:>10.1f} %    aim: at most {AIM_PERCENT}")
    print(f"{'difference of the quickest':<28}{quickest:>10.1f} %")
    print(f"{'of it outside the request':<28}{own_ms:>10.2f} ms   "
          f"({figures['client_own_percent']:.2f} % of the bare request)")  # fmt: skip
    print(f"{'same order':<28}{'yes' if same_order else 'NO':>10}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 0 if same_order and figures["client_own_percent"] <= AIM_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
