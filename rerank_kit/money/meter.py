"""Time and money since the machine was rented: the learner's own price, the learner's currency."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from rerank_kit.errors import InputError

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Step:
    """One piece of work and what it cost."""

    name: str
    seconds: float
    cost: float


@dataclass
class Meter:
    """Money since a start. price_per_hour in the learner's currency; started_at in seconds since
    the epoch (None: since this machine is up).

    >>> Meter(2.0, "CNY", started_at=time.time() - 1800).spent() > 0.99
    True
    """

    price_per_hour: float
    currency: str = ""
    started_at: float | None = None
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.price_per_hour = positive_amount(self.price_per_hour, "the price per hour")
        if self.started_at is None:
            self.started_at = machine_started_at()
        if self.started_at > time.time() + 1:
            raise InputError("The start lies in the future.", hint="is the clock right?")

    @property
    def hours(self) -> float:
        assert self.started_at is not None
        return max(0.0, time.time() - self.started_at) / SECONDS_PER_HOUR

    def spent(self) -> float:
        """Money since the start, in the currency of the price."""
        return self.hours * self.price_per_hour

    def cost_of(self, seconds: float) -> float:
        return seconds / SECONDS_PER_HOUR * self.price_per_hour

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Remember how long the block took and what it cost."""
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - started
            self.steps.append(Step(name, seconds, self.cost_of(seconds)))

    def __str__(self) -> str:
        lines = [f"{money(self.spent(), self.currency)} in {self.hours:.2f} hours at "
                 f"{money(self.price_per_hour, self.currency)} an hour"]  # fmt: skip
        lines += [
            f"  {step.name}: {money(step.cost, self.currency)} ({step.seconds:.0f} s)"
            for step in self.steps
        ]
        return "\n".join(lines)


def cost_per_thousand_queries(
    price_per_hour: float, pairs_per_second: float, documents_per_query: int
) -> float:
    """Money for 1,000 queries when the machine does nothing else, in the currency of the price.

    pairs_per_second: measured (rerank-kit bench), at your own document length.

    >>> round(cost_per_thousand_queries(2.0, 100.0, 50), 3)
    0.278
    """
    price = positive_amount(price_per_hour, "the price per hour")
    speed = positive_amount(pairs_per_second, "pairs per second")
    seconds = 1000 * positive_amount(documents_per_query, "documents per query") / speed
    return seconds / SECONDS_PER_HOUR * price


def machine_started_at() -> float:
    """When this machine, or this container, came up (seconds since the epoch). In a container
    the system's boot is the host's, often weeks ago; its first process is the container's."""
    try:
        return max(psutil.boot_time(), psutil.Process(1).create_time())
    except psutil.Error:
        return psutil.boot_time()


def money(amount: float, currency: str = "") -> str:
    """An amount as people write it: two digits, more only for what would look like nothing.

    >>> money(2, "CNY"), money(0.004), money(0)
    ('2.00 CNY', '0.0040', '0.00')
    """
    digits = 2
    if 0 < abs(amount) < 0.1:
        digits = 1 - math.floor(math.log10(abs(amount)))
    return f"{amount:.{digits}f} {currency}".rstrip()


def positive_amount(value: float, what: str) -> float:
    """value as a number above zero. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{what} must be a number, not {value!r}.")
    if value <= 0:
        raise InputError(f"{what} must be more than 0, not {value:g}.")
    return float(value)
