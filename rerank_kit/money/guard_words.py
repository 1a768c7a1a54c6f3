"""How the guard does, in one line, for the commands that are asked about something else."""

from __future__ import annotations

from rerank_kit.money import guard_files as files
from rerank_kit.money.guard_files import GuardState
from rerank_kit.money.limits import Budget
from rerank_kit.money.meter import money

_AT_THE_LIMIT = {
    "warn": "only warns",
    "stop": "stops the servers",
    "poweroff": "stops the servers and powers this machine off",
}


def guard_line(state: GuardState, budget: Budget | None) -> str:
    """Spent, limit, and what happens at it; "" when no guard is on duty."""
    if budget is None or state.state not in files.ARMED:
        return ""
    spent = (
        f"guard: {money(state.spent, budget.currency)} of "
        f"{money(budget.limit, budget.currency)} spent ({state.percent:.0f} %)"
    )
    if not (state.is_alive or files.lock_is_held()):  # its keeper starts it again in a second
        return f"{spent}; IT HAS DIED and watches nothing (rerank-kit budget starts it again)"
    what = _AT_THE_LIMIT[budget.on_limit]
    if state.action_in_seconds is not None:
        return (
            f"{spent}; in {state.action_in_seconds:.0f} seconds it {what} "
            "(to prevent it: rerank-kit budget --cancel)"
        )
    idle = f", or after {budget.idle_minutes:g} idle minutes," if budget.idle_minutes else ""
    return f"{spent}; at the limit{idle} it {what}"


def guard_facts(state: GuardState, budget: Budget | None) -> dict[str, object] | None:
    """The same for --json: None when no guard is on duty."""
    if budget is None or state.state not in files.ARMED:
        return None
    return {
        "alive": state.is_alive or files.lock_is_held(),
        "state": state.state,
        "spent": state.spent,
        "limit": budget.limit,
        "currency": budget.currency,
        "percent": state.percent,
        "on_limit": budget.on_limit,
        "action_in_seconds": state.action_in_seconds,
    }
