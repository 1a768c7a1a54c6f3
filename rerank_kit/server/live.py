"""What a server does at this moment: its own /metrics, and the memory of its processes.

    for now in watch(server.url): print(now)

Rates and times are those since the look before; the first one has none.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import requests

from rerank_kit import machine, registry
from rerank_kit.client.transport import normalise_url
from rerank_kit.errors import RequestTimeout, ResponseError, UnreachableError
from rerank_kit.models import GIB
from rerank_kit.registry import ServerRecord
from rerank_kit.server import process_group

#: A look must not hang behind a busy server for long.
TIMEOUT_SECONDS = 5.0
_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?P<labels>\{.*\})? (?P<value>\S+)")


@dataclass(frozen=True)
class LiveView:
    """One look. None: not known (yet, or on this machine).

    pairs_*: query-document pairs; to vLLM each pair is a request. kv_cache_share, and
    prefix_hit_share (tokens found in the cache, since the look before, or since the start when
    nothing was asked meanwhile): 0 to 1. seconds_per_pair: from arrival to answer, waiting
    included; queue_seconds_per_pair: the waiting alone. gpu_gib: of this server's processes
    where the driver says so, else in use on the card. host_gib: main memory of its processes,
    shared pages counted once (PSS) where the system allows it.
    """

    url: str
    pairs_running: int
    pairs_waiting: int
    pairs_done: int
    kv_cache_share: float
    prefix_hit_share: float | None = None
    pairs_per_second: float | None = None
    tokens_per_second: float | None = None
    seconds_per_pair: float | None = None
    queue_seconds_per_pair: float | None = None
    gpu_gib: float | None = None
    gpu_total_gib: float | None = None
    host_gib: float | None = None
    at: float = 0.0
    counters: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """What `rerank-kit status --watch --json` prints of one server."""
        shown = {key: value for key, value in vars(self).items() if key not in ("counters", "at")}
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in shown.items()
        }

    def __str__(self) -> str:
        return "   ".join(f"{name} {value}" for name, value in self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """(what, value with its unit), as panels and the terminal show them."""
        gpu = _gib(self.gpu_gib)
        if self.gpu_gib is not None and self.gpu_total_gib:
            gpu = f"{self.gpu_gib:.1f} of {self.gpu_total_gib:.1f} GiB"
        rows = [
            ("running", f"{self.pairs_running} pairs"),
            ("waiting", f"{self.pairs_waiting} pairs"),
            ("done", f"{self.pairs_done:,} pairs"),
            ("speed", _or_dash(self.pairs_per_second, "{:.1f} pairs/s")),
            ("time per pair", _or_dash(_ms(self.seconds_per_pair), "{:.0f} ms")),
            ("of it waiting", _or_dash(_ms(self.queue_seconds_per_pair), "{:.0f} ms")),
            ("KV cache in use", f"{100 * self.kv_cache_share:.0f} %"),
            ("prefix cache hits", _or_dash(_percent(self.prefix_hit_share), "{:.0f} %")),
            ("main memory", _gib(self.host_gib)),
        ]
        if self.gpu_gib is not None:
            rows.append(("GPU memory", gpu))
        return rows


def look(
    url: str, before: LiveView | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> LiveView:
    """One look at the server at url; with the look before also rates and times.

    Raises UnreachableError and the other RequestErrors; ResponseError when something answers
    that is no vLLM.
    """
    root = normalise_url(url)
    counters = parse_metrics(_metrics_text(f"{root}/metrics", timeout_seconds))
    if "vllm:num_requests_running" not in counters:
        raise ResponseError(f"{root}/metrics holds no numbers of vLLM.")
    record = _record_of(root)
    gpu, total = _gpu_memory(record)
    now = time.monotonic()
    changed = _changes(counters, before, now) if before is not None else {}
    if before is None or "prefix_hit_share" not in changed:
        changed["prefix_hit_share"] = _share(
            counters.get("vllm:prefix_cache_hits_total", 0.0),
            counters.get("vllm:prefix_cache_queries_total", 0.0),
        )
    return LiveView(
        url=root,
        pairs_running=int(counters["vllm:num_requests_running"]),
        pairs_waiting=int(counters.get("vllm:num_requests_waiting", 0)),
        pairs_done=int(counters.get("vllm:request_success_total", 0)),
        kv_cache_share=counters.get(
            "vllm:kv_cache_usage_perc", counters.get("vllm:gpu_cache_usage_perc", 0.0)
        ),
        gpu_gib=gpu,
        gpu_total_gib=total,
        host_gib=host_gib(record) if record else None,
        at=now,
        counters=counters,
        **changed,
    )


def watch(url: str, every_seconds: float = 2.0, times: int | None = None) -> Iterator[LiveView]:
    """A look every so many seconds, for ever or so many times. Raises as look() does."""
    before = None
    count = 0
    while times is None or count < times:
        if count:
            time.sleep(every_seconds)
        before = look(url, before)
        count += 1
        yield before


def _metrics_text(address: str, timeout_seconds: float) -> str:
    """The one answer of a server that is no JSON. vLLM asks for no key there; a proxy may."""
    key = os.environ.get("RERANK_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = requests.get(
            address, headers=headers, timeout=timeout_seconds, allow_redirects=False
        )
    except requests.Timeout:
        raise RequestTimeout(f"{address} gave no answer within {timeout_seconds:g} s.") from None
    except requests.RequestException:
        raise UnreachableError(
            f"Nothing answers at {address}.", hint="rerank-kit status says what runs, and where"
        ) from None
    if answer.status_code != 200:
        raise ResponseError(f"{address} answers with HTTP {answer.status_code}.")
    return answer.text


def parse_metrics(text: str) -> dict[str, float]:
    """Prometheus text -> the sum over labels of each number (a server of several engines has one
    line for each). Shares (names that end in _perc) are the largest instead of the sum.

    >>> parse_metrics('a_total{engine="0"} 2.0\\na_total{engine="1"} 3.0\\n# a comment')
    {'a_total': 5.0}
    """
    numbers: dict[str, float] = {}
    for line in text.splitlines():
        found = _SAMPLE.match(line)
        if not found or found["name"].endswith("_bucket"):
            continue
        try:
            value = float(found["value"])
        except ValueError:
            continue
        name = found["name"]
        if name.endswith("_perc"):
            numbers[name] = max(numbers.get(name, 0.0), value)
        else:
            numbers[name] = numbers.get(name, 0.0) + value
    return numbers


def _changes(
    counters: dict[str, float], before: LiveView, now: float
) -> dict[str, float | None]:
    def grown(name: str) -> float:
        return counters.get(name, 0.0) - before.counters.get(name, 0.0)

    seconds = now - before.at
    pairs = grown("vllm:request_success_total")
    if seconds <= 0 or pairs < 0:  # the server was started anew meanwhile
        return {}
    changes: dict[str, float | None] = {
        "pairs_per_second": pairs / seconds,
        "tokens_per_second": grown("vllm:prompt_tokens_total") / seconds,
    }
    finished = grown("vllm:e2e_request_latency_seconds_count")
    if finished > 0:
        changes["seconds_per_pair"] = grown("vllm:e2e_request_latency_seconds_sum") / finished
        changes["queue_seconds_per_pair"] = (
            grown("vllm:request_queue_time_seconds_sum") / finished
        )
    asked = grown("vllm:prefix_cache_queries_total")
    if asked > 0:
        changes["prefix_hit_share"] = _share(grown("vllm:prefix_cache_hits_total"), asked)
    return changes


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _record_of(root: str) -> ServerRecord | None:
    return next((one for one in registry.living() if one.url == root), None)


def host_gib(record: ServerRecord) -> float | None:
    """Main memory of a server's processes; None when none can be looked at."""
    total = 0
    for process in process_group.members(record.pid):
        try:
            total += _memory_bytes(process)
        except psutil.Error:
            continue
    return total / GIB if total else None


def _memory_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)  # Linux: shared pages are counted once
    except (psutil.Error, AttributeError, OSError):
        return int(process.memory_info().rss)


def _gpu_memory(record: ServerRecord | None) -> tuple[float | None, float | None]:
    """(GiB used, GiB there are) over the cards that the server uses; (None, None) without."""
    if record is None or record.profile == "cpu":
        return None, None
    cards = machine.gpus()
    mine = [card for card in cards if any(one.ours for one in card.holders)] or cards
    if not mine:
        return None, None
    total = sum(card.usable_gib for card in mine)
    ours = [one.gib for card in mine for one in card.holders if one.ours]
    if ours and None not in ours:
        return sum(one or 0.0 for one in ours), total
    return sum(card.usable_gib - card.free_gib for card in mine), total


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _gib(value: float | None) -> str:
    return _or_dash(value, "{:.1f} GiB")
