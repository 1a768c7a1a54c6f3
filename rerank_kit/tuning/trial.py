"""One trial: a server with these settings, its scores, its speed, its memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from rerank_kit import machine, models
from rerank_kit.errors import InputError, LaunchError
from rerank_kit.server import Server
from rerank_kit.server.lifecycle import launch_settings
from rerank_kit.server.settings import ServerSettings
from rerank_kit.tuning.limit import Limit, percent_of_limit
from rerank_kit.tuning.load import run_load
from rerank_kit.tuning.load_report import Load, LoadReport
from rerank_kit.tuning.workload import Workload

#: Queries whose rankings are compared with the reference.
GUARDED_QUERIES, GUARDED_DOCUMENTS = 6, 24


@dataclass(frozen=True)
class Trial:
    """What one start brought. failed: why there is no speed. scores: of the guarded pairs, a list
    for each query. speeds: pairs per second by requests under way at once."""

    choices: dict[str, str]
    pairs_per_second: float = 0.0
    concurrency: int = 0
    speeds: dict[str, float] = field(default_factory=dict)
    tokens_per_pair: float = 0.0
    cached_share: float = 0.0
    percent_of_limit: float | None = None
    seconds_p95: float = 0.0
    memory_gib: float | None = None
    seconds_to_ready: float = 0.0
    scores: list[list[float]] = field(default_factory=list)
    failed: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_trial(
    settings: ServerSettings,
    choices: dict[str, str],
    workload: Workload,
    limit: Limit | None,
    *,
    concurrencies: tuple[int, ...],
    seconds: float,
    on_progress: Callable[[Any], None] | None = None,
    on_change: Callable[[], object] = lambda: None,
) -> Trial:
    """Start, score the guarded pairs, load at each concurrency, stop. A server that does not start
    with these settings is a result too. on_change: called after each request; what it raises
    ends the trial, and the server with it."""
    started = time.monotonic()
    try:
        server = launch_settings(
            settings, port=machine.free_port(), score_check=False, on_progress=on_progress
        )
    except LaunchError as error:
        found = error.diagnosis
        title = found.title if found is not None else error.message
        return Trial(choices, failed=f"{title} {' '.join(error.evidence.split())[:200]}".strip())
    ready = time.monotonic() - started
    try:
        return _measure(
            server, choices, workload, limit, concurrencies, seconds, ready, on_change
        )
    finally:
        server.stop(force=True)


def _measure(
    server: Server, choices: dict[str, str], workload: Workload, limit: Limit | None,
    concurrencies: tuple[int, ...], seconds: float, ready: float, on_change: Callable[[], object],
) -> Trial:  # fmt: skip
    client = server.reranker()
    on_change()
    scores = guarded_scores(
        lambda pairs: client.score(pairs, workload.instruction), workload
    )
    first, best = 0, None
    speeds: dict[str, float] = {}
    for number in concurrencies:
        load = Load(concurrency=number, seconds=seconds, warm_up_requests=2)
        report = run_load(
            client, workload, load, first_request=first, on_progress=lambda _: on_change()
        )
        first = report.next_request
        speeds[str(number)] = round(report.pairs_per_second, 3)
        if best is None or report.pairs_per_second > best.pairs_per_second:
            best = report
    assert best is not None and server.settings is not None
    return Trial(
        choices=choices,
        pairs_per_second=best.pairs_per_second,
        concurrency=best.load.concurrency,
        speeds=speeds,
        tokens_per_pair=best.tokens_per_pair,
        cached_share=best.cached_share or 0.0,
        percent_of_limit=_percent(server.settings.model, limit, best),
        seconds_p95=best.seconds_p95,
        memory_gib=best.gpu_gib if best.gpu_gib is not None else best.host_gib,
        seconds_to_ready=round(ready, 1),
        scores=scores,
    )


def guarded_scores(
    score: Callable[[list[tuple[str, str]]], list[float]], workload: Workload
) -> list[list[float]]:
    """Scores of the same few queries with the same documents, whatever the settings."""
    queries = workload.queries[:GUARDED_QUERIES]
    documents = workload.documents[:GUARDED_DOCUMENTS]
    flat = iter(score([(query, text) for query in queries for text in documents]))
    return [[next(flat) for _ in documents] for _ in queries]


def _percent(model: str, limit: Limit | None, report: LoadReport) -> float | None:
    if limit is None:
        return None
    try:
        facts = models.facts_of(model)
    except InputError:
        return None
    return percent_of_limit(
        limit, facts, report.pairs_per_second, report.tokens_per_pair, report.cached_share or 0.0
    )
