"""plan, beyond one GPU: how many machines a load needs, what to do with several GPUs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from rerank_kit.commands.result import Result, positive
from rerank_kit.errors import InputError


def add_options(parser: ArgumentParser) -> None:
    """The part of `plan` that leads past one GPU."""
    several = parser.add_argument_group("several GPUs in one machine (with --gpu and --model)")
    several.add_argument("--gpus", type=positive, metavar="N", help="how many of them it has")
    load = parser.add_argument_group(
        "how many machines? (needs --queries-per-day and a measured --pairs-per-second)"
    )
    load.add_argument("--queries-per-day", type=float, metavar="Q", help="what is asked for")
    load.add_argument("--pairs-per-second", type=float, metavar="S",
                      help="of one GPU, as rerank-kit bench measured it")  # fmt: skip
    load.add_argument("--measured-tokens", type=positive, metavar="N",
                      help="tokens per pair in that measurement (default: --tokens)")  # fmt: skip
    load.add_argument("--documents", type=positive, default=50, metavar="D",
                      help="documents per query (default 50)")  # fmt: skip
    load.add_argument("--tokens", type=positive, default=500, metavar="N",
                      help="tokens per pair, prompt and all (default 500)")  # fmt: skip
    load.add_argument("--peak-factor", type=float, metavar="F",
                      help="busiest hour against the average one (default 3)")  # fmt: skip
    load.add_argument("--gpus-per-machine", type=positive, default=1, metavar="N",
                      help="default 1")  # fmt: skip
    load.add_argument("--spare-machines", type=int, default=1, metavar="N",
                      help="how many may fail at the busiest hour (default 1)")  # fmt: skip
    load.add_argument("--price-per-hour", type=float, metavar="P", help="of one machine")
    load.add_argument("--currency", default="", metavar="C", help="only printed, e.g. CNY")


def is_asked(options: Namespace) -> bool:
    return options.queries_per_day is not None or options.gpus is not None


def beyond_one_gpu(options: Namespace) -> Result:
    if options.queries_per_day is not None:
        return _machines(options)
    if not (options.gpu and options.model):
        raise InputError("--gpus needs --gpu and --model.", hint='--gpu T4 --gpus 4 --model 8B')
    from rerank_kit.scale import arrange

    made = arrange(options.model, options.gpu, options.gpus, max_model_len=options.max_model_len)
    data = {
        "model": made.model, "card": made.card, "gpus_per_copy": made.gpus_per_copy,
        "copies": made.copies, "peak_gib": round(made.peak_gib, 2), "flags": made.flags(),
        "commands": made.commands(),
    }  # fmt: skip
    return Result(True, str(made), data)


def _machines(options: Namespace) -> Result:
    from rerank_kit.scale import Capacity, Load, Speed

    if options.pairs_per_second is None:
        raise InputError(
            "The plan starts from a speed that was measured: --pairs-per-second.",
            hint="rerank-kit bench, on the card and with the length that you mean",
        )
    more: dict[str, Any] = {}
    if options.peak_factor is not None:
        more["peak_factor"] = options.peak_factor
    made = Capacity(
        Load(options.queries_per_day, options.documents, options.tokens, **more),
        Speed(options.pairs_per_second, options.measured_tokens or options.tokens),
        gpus_per_machine=options.gpus_per_machine,
        price_per_hour=options.price_per_hour,
        currency=options.currency,
        spare_machines=options.spare_machines,
    )
    return Result(True, str(made), made.as_dict())
