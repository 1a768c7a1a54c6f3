"""What this hour costs, and a guard that ends it.

meter.py counts time and money, limits.py decides what is due, guard.py is the small process that
watches and acts, guard_control.py starts, asks and ends it, guard_words.py tells of it in a line,
providers.py knows how each cloud is really stopped.
"""

from __future__ import annotations

from rerank_kit.money.guard_control import GuardState, cancel, guard_state, start_guard, stop_guard
from rerank_kit.money.limits import Budget
from rerank_kit.money.meter import Meter, cost_per_thousand_queries

__all__ = [
    "Budget",
    "GuardState",
    "Meter",
    "cancel",
    "cost_per_thousand_queries",
    "guard_state",
    "start_guard",
    "stop_guard",
]
