"""tune: find the fastest settings that still rank the same, and say why each one wins."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from rerank_kit.commands.loading import workload_options
from rerank_kit.commands.result import AddCommand, Result, positive, say
from rerank_kit.errors import InputError


def add(command: AddCommand) -> None:
    made = command("tune", tune, "find the fastest settings under a quality and a memory guard")
    workload_options(made)
    _options(made)


def tune(options: Namespace) -> Result:
    from rerank_kit import registry
    from rerank_kit.server.settings import choose_profile, settings_for
    from rerank_kit.tuning.knobs import knobs_for
    from rerank_kit.tuning.result import tune as run
    from rerank_kit.tuning.search import Guard, Search
    from rerank_kit.tuning.texts import workload_for_model

    profile, why = choose_profile(options.profile)
    if profile == "remote":
        raise InputError(
            "A server that was not started here cannot be tuned.",
            hint="run it on that machine, or --profile practice",
        )
    say(options, f"profile: {profile} ({why})")
    settings = settings_for(profile, options.model, tuple(options.vllm_flags))
    if registry.living():
        say(options, "note: a server of ours is running, and takes part of the machine")
    knobs = knobs_for(
        settings, only=tuple(options.only or ()), dtypes=tuple(options.dtype or ()),
        quantisations=tuple(options.quantization or ()),
    )  # fmt: skip
    search = Search(
        settings, knobs, workload_for_model(options, settings.model),
        guard=Guard(options.order_kept, options.memory_gib),
        concurrencies=tuple(options.concurrency), seconds=options.seconds,
        most_starts=options.most_starts, say=lambda text: say(options, text),
        on_progress=lambda _: None, again=options.again,
    )  # fmt: skip
    say(options, f"kept in {search.state_path}: interrupted, the same command goes on")
    found = run(search, options.price_per_hour, options.currency)
    data = found.as_dict() | {"state": str(search.state_path)}
    if options.plot:
        found.plot(options.plot)
        data["plot"] = options.plot
    return Result(True, f"\n{found}", data)


def _options(parser: ArgumentParser) -> None:
    parser.epilog = (
        "It starts servers itself and stops them again. vLLM's own flags that shall stay as they "
        "are go after --."
    )
    parser.add_argument(
        "--profile", default=os.environ.get("RERANK_PROFILE") or "auto",
        help="practice, cpu or gpu (default: RERANK_PROFILE, else auto)",
    )
    parser.add_argument("--model", help="0.6B, 4B, 8B, a folder or a hub id")
    parser.add_argument(
        "--only", nargs="+", metavar="SETTING", help="try only these, e.g. block-size"
    )
    parser.add_argument("--dtype", nargs="+", metavar="T", help="also try these number formats")
    parser.add_argument(
        "--quantization", nargs="+", metavar="Q", help="also try these quantised forms"
    )
    parser.add_argument(
        "--concurrency", nargs="+", type=positive, default=[1, 2, 4], metavar="N",
        help="requests at once that the client may keep under way (default: 1 2 4)",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="each measurement (default: 10)"
    )
    parser.add_argument(
        "--most-starts", type=positive, default=20, metavar="N", help="of a server (default: 20)"
    )
    parser.add_argument(
        "--order-kept", type=float, default=0.99, metavar="SHARE",
        help="quality guard: this share of the reference order must be kept (default: 0.99)",
    )
    parser.add_argument("--memory-gib", type=float, metavar="X", help="the server may use no more")
    parser.add_argument("--again", action="store_true", help="forget what was measured before")
    parser.add_argument("--plot", metavar="FILE.png", help="also draw what each setting brought")
