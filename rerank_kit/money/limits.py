"""What the guard decides, without doing any of it: values in, values out."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rerank_kit.errors import InputError
from rerank_kit.money.meter import SECONDS_PER_HOUR, money, positive_amount

WARN_AT_PERCENT = (50, 80, 100)
ON_LIMIT = ("warn", "stop", "poweroff")


@dataclass(frozen=True)
class Budget:
    """What the learner allows. limit: money in all, in the currency of the price. idle_minutes:
    no request to any of our servers for so long is a limit too (None: never). countdown_seconds:
    between reaching a limit and acting, when it can still be cancelled. power_off_command: the
    words of the command that ends the rent (on_limit poweroff)."""

    price_per_hour: float
    limit: float
    currency: str = ""
    on_limit: str = "stop"
    idle_minutes: float | None = None
    countdown_seconds: float = 120.0
    power_off_command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        positive_amount(self.price_per_hour, "the price per hour")
        positive_amount(self.limit, "the limit")
        if self.idle_minutes is not None:
            positive_amount(self.idle_minutes, "the idle minutes")
        if self.countdown_seconds < 0:
            raise InputError("The countdown cannot be negative.")
        if self.on_limit not in ON_LIMIT:
            raise InputError(
                f"{self.on_limit!r} is nothing the guard can do.", hint=" or ".join(ON_LIMIT)
            )
        if self.on_limit == "poweroff" and not self.power_off_command:
            raise InputError(
                "Nobody has said how this machine is powered off.",
                hint="name it: --power-off-command, or --provider (rerank-kit budget --providers)",
            )

    @property
    def limit_seconds(self) -> float:
        """How long the limit lasts."""
        return self.limit / self.price_per_hour * SECONDS_PER_HOUR

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"power_off_command": list(self.power_off_command)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Budget:
        known = {item.name for item in fields(cls)}
        kept = {key: value for key, value in values.items() if key in known}
        kept["power_off_command"] = tuple(kept.get("power_off_command") or ())
        return cls(**kept)


@dataclass(frozen=True)
class Due:
    """What the numbers ask for now. warnings: percents of the budget that were newly passed.
    reason: why the limit counts as reached ("" while it is not)."""

    spent: float
    percent: float
    warnings: tuple[int, ...]
    reason: str


def what_is_due(
    budget: Budget, counted_seconds: float, idle_seconds: float, warned_percent: int
) -> Due:
    """counted_seconds: paid time so far. idle_seconds: since the last request to a server of
    ours. warned_percent: the highest warning that was already given."""
    spent = counted_seconds / SECONDS_PER_HOUR * budget.price_per_hour
    percent = 100 * spent / budget.limit
    warnings = tuple(mark for mark in WARN_AT_PERCENT if warned_percent < mark <= percent)
    reason = ""
    if percent >= 100:
        reason = (
            f"the budget of {money(budget.limit, budget.currency)} is spent "
            f"({money(spent, budget.currency)})"
        )
    elif budget.idle_minutes is not None and idle_seconds >= 60 * budget.idle_minutes:
        reason = f"no request for {idle_seconds / 60:.0f} minutes"
    return Due(spent, percent, warnings, reason)


@dataclass
class PaidTime:
    """Counts the seconds that are paid for, through suspended machines, clocks that are set, and
    a guard that died and came back.

    life names one life of the machine or container, uptime_seconds runs in it, sleep included,
    and nobody can set it. Between two lives the machine was off, which is not paid by the hour.
    """

    seconds: float
    life: str
    uptime_seconds: float

    def advance(self, life: str, uptime_seconds: float) -> None:
        """Take a new reading."""
        if life == self.life:
            self.seconds += max(0.0, uptime_seconds - self.uptime_seconds)
        else:
            self.seconds += max(0.0, uptime_seconds)  # all of the new life so far was paid
        self.life, self.uptime_seconds = life, uptime_seconds


def uptime() -> tuple[str, float]:
    """(name of this life, seconds it has lasted) of the machine, or of the container that this
    process is in: its first process started with it."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    after_name = Path("/proc/1/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    ticks = int(after_name[19])  # proc(5): starttime, in clock ticks since boot
    clock = time.clock_gettime(time.CLOCK_BOOTTIME)
    return f"{boot_id}:{ticks}", clock - ticks / os.sysconf("SC_CLK_TCK")
