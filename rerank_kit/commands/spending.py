"""budget: a guard that ends what costs money, at a sum or after idle time."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from rerank_kit.commands.result import AddCommand, Result
from rerank_kit.errors import InputError
from rerank_kit.money import guard_files


def add(command: AddCommand) -> None:
    _budget_options(
        command("budget", budget, "put a guard on what this hour costs, or ask how it does")
    )


def _budget_options(parser: ArgumentParser) -> None:
    parser.epilog = (
        "Without options: how does the guard do? With --price-per-hour and --limit: put it on "
        "duty. It runs until you switch it off, whatever happens to notebooks and terminals."
    )
    parser.add_argument("--price-per-hour", type=float, metavar="P", help="what the machine costs")
    parser.add_argument("--limit", type=float, metavar="L", help="what you want to spend in all")
    parser.add_argument("--currency", default="", metavar="C", help="only printed, e.g. CNY")
    parser.add_argument(
        "--on-limit", choices=("warn", "stop", "poweroff"), default="stop",
        help="what to do then: stop the servers (default), or power the machine off as well",
    )  # fmt: skip
    parser.add_argument(
        "--idle-minutes", type=float, metavar="N", help="act after N minutes without a request too"
    )
    parser.add_argument(
        "--paid-hours", type=float, metavar="H",
        help="paid for already (default: since the machine is up)",
    )  # fmt: skip
    parser.add_argument(
        "--countdown-seconds", type=float, default=120.0, metavar="S",
        help="time to cancel before it acts (default 120)",
    )  # fmt: skip
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--power-off-command", metavar="CMD", help="how this machine is powered off")
    how.add_argument("--provider", metavar="NAME", help="the way of this cloud (see --providers)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--cancel", action="store_true", help="cancel the countdown that runs")
    ends.add_argument("--providers", action="store_true", help="how each cloud is really stopped")
    ends.add_argument("--off", action="store_true", help="switch the guard off")


def budget(options: Namespace) -> Result:
    from rerank_kit import money
    from rerank_kit.money.guard import what_would_be_done

    if options.providers:
        return _providers()
    if options.cancel:
        return _report(money.cancel(), good=True)
    if options.off:
        return _report(money.stop_guard(), good=True)
    if options.price_per_hour is None and options.limit is None:
        state = money.guard_state()
        return _report(state, good=state.is_alive)
    if options.price_per_hour is None or options.limit is None:
        raise InputError("A guard needs both: --price-per-hour and --limit.")
    allowed = money.Budget(
        price_per_hour=options.price_per_hour,
        limit=options.limit,
        currency=options.currency,
        on_limit=options.on_limit,
        idle_minutes=options.idle_minutes,
        countdown_seconds=options.countdown_seconds,
        power_off_command=_power_off_command(options),
    )
    if options.dry_run:
        steps = what_would_be_done(allowed)
        text = "\n".join(["at the limit, after the countdown:", *(f"  {step}" for step in steps)])
        return Result(True, text, {"dry_run": steps})
    return _report(money.start_guard(allowed, paid_hours=options.paid_hours), good=True)


def _providers() -> Result:
    from rerank_kit.money.providers import provider_here, providers

    here = provider_here()
    known = list(providers().values())
    first = f"this machine: {here.title if here else 'not recognised'}"
    data = {"here": here.name if here else None, "providers": [asdict(one) for one in known]}
    return Result(True, "\n\n".join([first, *map(str, known)]), data)


def _power_off_command(options: Namespace) -> tuple[str, ...]:
    """What the person said; else the way of the cloud that they named or that is recognised."""
    from rerank_kit.money.providers import provider_here, provider_named

    if options.on_limit == "poweroff" and not options.power_off_command:
        provider = provider_named(options.provider) if options.provider else provider_here()
        return provider.power_off_command() if provider else ()
    try:
        return tuple(shlex.split(options.power_off_command or ""))
    except ValueError as error:
        raise InputError(
            "The power-off command cannot be read.", evidence=str(error), hint="mind the quotes"
        ) from None


def _report(state: guard_files.GuardState, good: bool) -> Result:
    from rerank_kit.money.meter import SECONDS_PER_HOUR, money

    allowed = guard_files.read_budget()
    lines = [f"guard:   {'on duty' if state.is_alive else 'OFF: nothing watches the budget'}"]
    if allowed is not None and state.state != guard_files.OFF:
        left_hours = max(0.0, allowed.limit - state.spent) / allowed.price_per_hour
        lines += [
            f"spent:   {money(state.spent, allowed.currency)} of "
            f"{money(allowed.limit, allowed.currency)} ({state.percent:.0f} %), "
            f"{state.counted_seconds / SECONDS_PER_HOUR:.2f} hours paid",
            f"left:    {left_hours:.2f} hours, then: {allowed.on_limit}",
        ]
    if state.action_in_seconds is not None:
        lines.append(f"ACTS IN  {state.action_in_seconds:.0f} seconds (rerank-kit budget --cancel)")
    lines += [f"  {message}" for message in state.messages[-5:]]
    data = state.as_dict() | {"budget": allowed.as_dict() if allowed else None}
    return Result(good, "\n".join(lines), data)
