"""Checks for the exercises of notebook 13."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_kit.exercises.outcome import PASS, reply
from rerank_kit.money import Budget, cost_per_thousand_queries
from rerank_kit.money.providers import provider_named

_EVENING_HOURS, _EVENING_IDLE_MINUTES, _EVENING_COUNTDOWN_SECONDS = 3, 20, 300
_DOCUMENTS, _SHARE_OF_AN_HOUR = 100, 0.1


@reply
def check_shutdown_ends_bill(answers: Mapping[str, bool]) -> str:
    """Is it known for each of these clouds whether a power-off from inside ends the bill? Names
    the first that is not."""
    for name, answer in answers.items():
        if bool(answer) != (provider_named(name).inside != "no"):
            return f"hint for {name}: read its line in the table again"
    return PASS


@reply
def check_evening_budget(budget: Budget, price_per_hour: float) -> str:
    """Three hours at this price, 20 idle minutes, the servers stopped, five minutes to cancel?"""
    if abs(budget.price_per_hour - price_per_hour) > 1e-9:
        return "hint: the price is PRICE_PER_HOUR"
    if abs(budget.limit_seconds - 3600 * _EVENING_HOURS) > 1:
        return f"hint: the limit is money; yours lasts {budget.limit_seconds / 3600:.1f} hours"
    if budget.on_limit != "stop":
        return f"hint: at the limit it would {budget.on_limit}"
    if budget.idle_minutes != _EVENING_IDLE_MINUTES:
        return "hint: what says how long it may lie idle?"
    if budget.countdown_seconds != _EVENING_COUNTDOWN_SECONDS:
        return "hint: the time to change your mind is the countdown, in seconds"
    return PASS


@reply
def check_cheap_enough(pairs_per_second: float) -> str:
    """Is this the lowest speed at which 1,000 queries of 100 documents cost a tenth of an hour?"""
    if pairs_per_second <= 0:
        return "hint: a speed is more than 0"
    share = cost_per_thousand_queries(1.0, pairs_per_second, _DOCUMENTS)
    if share > 1.005 * _SHARE_OF_AN_HOUR:
        return "hint: at that speed it costs more; how many pairs is that, in how many seconds?"
    if share < 0.995 * _SHARE_OF_AN_HOUR:
        return "hint: that is cheap enough, and faster than needed"
    return PASS
