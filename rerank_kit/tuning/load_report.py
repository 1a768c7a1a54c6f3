"""How a load is sent, and what it brought."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from rerank_kit.errors import InputError


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


def percentile(ordered: list[float], percent: float) -> float:
    """The value that so many percent do not exceed, between neighbours where it falls there.

    >>> percentile([1.0, 2.0, 3.0], 50)
    2.0
    """
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
