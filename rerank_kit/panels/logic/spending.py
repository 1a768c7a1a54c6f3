"""The Money panel without its widgets: the price, what is spent, what is left, the guard."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from rerank_kit.money import (
    Budget,
    GuardState,
    Meter,
    cancel,
    guard_files,
    guard_state,
    start_guard,
    stop_guard,
)
from rerank_kit.money.guard_files import COUNTDOWN
from rerank_kit.money.meter import SECONDS_PER_HOUR, money
from rerank_kit.panels.logic.steps import STEPS
from rerank_kit.panels.logic.work import Model

ON_LIMIT = ("stop", "warn")
BESIDES = "everything else: waiting, reading, thinking"
DEFAULT_COUNTDOWN_SECONDS = 120.0


@dataclass(frozen=True)
class StepCost:
    """What a kind of work took and cost. cost: None without a price; times: 0 for what was no
    work at all."""

    name: str
    times: int
    seconds: float
    cost: float | None


class MoneyModel(Model):
    """The fields of a budget, and how the guard does. The panel never powers a machine off: that
    command is asked for in a terminal, where it can be read first."""

    costs = False

    def __init__(self) -> None:
        super().__init__()
        known = guard_files.read_budget()
        self.price_per_hour = known.price_per_hour if known else 0.0
        self.limit = known.limit if known else 0.0
        self.currency = known.currency if known else ""
        self.on_limit = known.on_limit if known and known.on_limit in ON_LIMIT else ON_LIMIT[0]
        self.idle_minutes = (known.idle_minutes or 0.0) if known else 0.0
        self.guard = guard_files.read_state()
        self._polling = False
        STEPS.watch(self.changed)

    @property
    def is_on(self) -> bool:
        return self.guard.is_alive

    def spent(self) -> float | None:
        """Since the machine is up, at the price typed in; the guard's own count while it is on
        duty. None without a price."""
        if self.is_on:
            return self.guard.spent
        return Meter(self.price_per_hour).spent() if self.price_per_hour > 0 else None

    def rows(self) -> list[tuple[str, str]]:
        """(what, amount) as people read it."""
        spent = self.spent()
        if spent is None:
            return [("spent", "say what the machine costs an hour")]
        rows = [("spent", money(spent, self.currency))]
        if self.limit > 0:
            left = max(0.0, self.limit - spent)
            minutes = 60 * left / self.price_per_hour if self.price_per_hour else 0.0
            rows.append(("left", f"{money(left, self.currency)}, {minutes:,.0f} minutes"))
        since = "counted by the guard" if self.is_on else "since this machine is up"
        return [*rows, ("counted", since)]

    def steps(self) -> list[StepCost]:
        """What each step in this window has cost, and the time in which nothing was done here:
        a rented machine is paid for whatever it does."""
        meter = Meter(self.price_per_hour, self.currency) if self.price_per_hour > 0 else None
        found = [
            StepCost(
                one.name, one.times, one.seconds, meter.cost_of(one.seconds) if meter else None
            )
            for one in STEPS.all()
        ]
        if meter is not None and found:
            spent = self.spent() or 0.0
            idle = max(0.0, spent - sum(one.cost or 0.0 for one in found))
            seconds = idle / self.price_per_hour * SECONDS_PER_HOUR
            found.append(StepCost(BESIDES, 0, seconds, idle))
        return found

    def guard_words(self) -> str:
        """How the guard does, in one sentence."""
        if not self.is_on:
            return "The guard is off: nothing watches the bill."
        if self.guard.state == COUNTDOWN:
            left = self.guard.action_in_seconds or 0.0
            return f"{self.guard.reason}: the guard acts in {left:.0f} seconds."
        act = "stops the servers" if self.on_limit == "stop" else "only warns"
        return (
            f"The guard is on: {self.guard.percent:.0f} % of the budget is spent. At the limit it "
            f"{act}; the rented machine itself goes on costing money until you switch it off."
        )

    def switch_on(self) -> bool:
        """Put the guard on duty with these numbers. Raises nothing: problems are shown."""
        return self.begin("starting the guard", self._switch_on)

    def switch_off(self) -> bool:
        return self.begin("switching the guard off", lambda: self._take(stop_guard()))

    def cancel(self) -> bool:
        """Give up the countdown that runs."""
        return self.begin("cancelling the countdown", lambda: self._take(cancel()))

    def look(self) -> None:
        """Ask the guard how it does (one that should be on duty and died is started again)."""
        with self.guarded():
            self._take(guard_state())

    def keep_looking(self, every_seconds: float = 2.0) -> None:
        """look() in the background for as long as the guard is on duty."""
        if self._polling:
            return
        self._polling = True

        def run() -> None:
            while self.is_on:
                time.sleep(every_seconds)
                self.look()
            self._polling = False

        threading.Thread(target=run, daemon=True).start()

    def _switch_on(self) -> None:
        budget = Budget(
            price_per_hour=self.price_per_hour, limit=self.limit, currency=self.currency,
            on_limit=self.on_limit, idle_minutes=self.idle_minutes or None,
            countdown_seconds=DEFAULT_COUNTDOWN_SECONDS,
        )  # fmt: skip
        self._take(start_guard(budget))
        self.keep_looking()

    def _take(self, state: GuardState) -> None:
        self.guard = state


def known_price() -> tuple[float, str]:
    """The price an hour that the guard was told, and its currency; (0.0, "") without one."""
    budget = guard_files.read_budget()
    return (budget.price_per_hour, budget.currency) if budget else (0.0, "")
