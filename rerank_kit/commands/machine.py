"""check and plan: what this machine is, and what will fit."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rerank_kit.commands import scaling
from rerank_kit.commands.result import AddCommand, Result, positive
from rerank_kit.language import localised


def add(command: AddCommand) -> None:
    command("check", check, "look at this machine: [ok] and [fix] lines")
    _plan_options(command("plan", plan, "will it fit? the memory of a start, predicted"))


def check(options: Namespace) -> Result:
    from rerank_kit import machine
    from rerank_kit.remote.rented import rented_findings
    from rerank_kit.server import choose_profile

    findings = [*machine.report(), *rented_findings()]
    profile, why = choose_profile("auto")
    good = all(finding.status != "fix" for finding in findings)
    lines = [*map(str, findings), "[ok]".ljust(10) + localised(f"profile: {profile} ({why})")]
    data = {
        "ok": good,
        "profile": profile,
        "findings": [finding.as_dict() for finding in findings],
    }
    return Result(good, "\n".join(lines), data)


def plan(options: Namespace) -> Result:
    """Will it fit? Without --model, everything that could, the best first in full."""
    from rerank_kit import memory

    if scaling.is_asked(options):
        return scaling.beyond_one_gpu(options)
    if options.gpu:
        device = memory.device_named(options.gpu)
    elif options.memory_gib is not None:
        device = memory.device_of(options.memory_gib)
    else:
        device = memory.device_here()
    if options.model:
        made = memory.plan(
            options.model, device,
            quantization=options.quantization, max_model_len=options.max_model_len,
        )  # fmt: skip
        return Result(made.verdict != memory.DOES_NOT_FIT, str(made), made.as_dict())
    compared = memory.every_plan(device, options.max_model_len, options.quantization)
    best = memory.best_of(compared, quantised=bool(options.quantization))
    data = best.as_dict() | {"compared": [one.as_dict() for one in compared]}
    text = f"{memory.table(compared)}\n\n{best}"
    return Result(best.verdict != memory.DOES_NOT_FIT, text, data)


def _plan_options(parser: ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--gpu", metavar="NAME", help='a card, e.g. T4, A10, "RTX 4090", A100-80')
    where.add_argument(
        "--memory-gib", type=float, metavar="X", help="a card with X GiB (default: this machine)"
    )
    parser.add_argument(
        "--model", help="0.6B, 4B, 8B, a folder or a hub id (default: what fits best)"
    )
    parser.add_argument(
        "--max-model-len", type=positive, metavar="N", help="longest query + document, in tokens"
    )
    parser.add_argument("--quantization", metavar="Q", help="fp8, int8, awq, gptq, or none")
    scaling.add_options(parser)
