"""tune: the fastest settings that still rank the same. forms: what quantising costs and gains."""

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
    _forms_options(
        command("forms", forms, "quantise and know: quality lost, memory and speed gained")
    )


def tune(options: Namespace) -> Result:
    from rerank_kit import registry
    from rerank_kit.server import choose_profile, settings_for
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
        start_name="vLLM's values for these" if options.only else "vLLM's defaults",
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


def forms(options: Namespace) -> Result:
    from rerank_kit.search.labelled import read_labelled, shipped
    from rerank_kit.server import choose_profile
    from rerank_kit.tuning.forms import compare_forms

    profile, _ = choose_profile(options.profile)
    if profile == "remote":
        raise InputError("A server that was not started here has one form.")
    files = (options.corpus, options.queries, options.qrels)
    if any(files) and not all(files):
        raise InputError("Three files are needed: --corpus, --queries and --qrels.")
    labelled = read_labelled(*files) if all(files) else shipped(options.corpus_name)
    found = compare_forms(
        profile, options.form, labelled, model=options.model, depth=options.depth,
        seconds=options.seconds, say=lambda text: say(options, text),
    )  # fmt: skip
    return Result(not all(one.failed for one in found.forms), f"\n{found}", found.as_dict())


def _forms_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "form", nargs="+", help="float32, bfloat16, fp8 ..., or the folder of a checkpoint; the "
        "first one is what the others are compared with",
    )  # fmt: skip
    parser.add_argument(
        "--profile", default=os.environ.get("RERANK_PROFILE") or "auto",
        help="practice, cpu or gpu (default: RERANK_PROFILE, else auto)",
    )
    parser.add_argument("--model", help="0.6B, 4B, 8B, a folder or a hub id")
    parser.add_argument("--corpus", metavar="FILE", help="your documents: corpus.jsonl")
    parser.add_argument("--queries", metavar="FILE", help="your queries.jsonl")
    parser.add_argument("--qrels", metavar="FILE", help="your labels: qrels/test.tsv")
    parser.add_argument("--corpus-name", default="technical", metavar="NAME",
                        help="without own files: a corpus of this package")  # fmt: skip
    parser.add_argument("--depth", type=positive, default=20, metavar="N",
                        help="candidates a query (default: 20)")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S",
                        help="of the speed measurement (default: 8)")  # fmt: skip
