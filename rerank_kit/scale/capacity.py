"""Queries per day, documents, length -> GPUs, machines, money; each step to check by hand."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rerank_kit.errors import InputError
from rerank_kit.money.meter import SECONDS_PER_HOUR, money, positive_amount

SECONDS_PER_DAY = 86_400
DAYS_PER_MONTH = 30
#: The busiest hour of a service for people against its average hour. An assumption: look at your
#: own log.
PEAK_FACTOR = 3.0
#: How much of the measured speed is planned with: a queue that is nearly full makes everybody
#: wait (at 60 % of an M/M/1 queue's limit a request takes 2.5 times as long as alone).
UTILISATION = 0.6


@dataclass(frozen=True)
class Load:
    """What is asked for. tokens_per_pair: query, document and prompt together. peak_factor: the
    busiest hour against the average one."""

    queries_per_day: float
    documents_per_query: int
    tokens_per_pair: int
    peak_factor: float = PEAK_FACTOR

    def __post_init__(self) -> None:
        positive_amount(self.queries_per_day, "queries per day")
        positive_amount(self.documents_per_query, "documents per query")
        positive_amount(self.tokens_per_pair, "tokens per pair")
        if positive_amount(self.peak_factor, "the peak factor") < 1:
            raise InputError("The busiest hour cannot be quieter than the average one.")

    @property
    def pairs_per_day(self) -> float:
        return self.queries_per_day * self.documents_per_query

    @property
    def pairs_per_second_at_peak(self) -> float:
        return self.pairs_per_day / SECONDS_PER_DAY * self.peak_factor


@dataclass(frozen=True)
class Speed:
    """What one GPU was measured to do (rerank-kit bench), at which pair length."""

    pairs_per_second: float
    tokens_per_pair: int

    def __post_init__(self) -> None:
        positive_amount(self.pairs_per_second, "pairs per second")
        positive_amount(self.tokens_per_pair, "tokens per pair")

    def at(self, tokens_per_pair: int) -> float:
        """Pairs per second at another length: as many tokens a second. Attention makes pairs of
        many thousand tokens slower than that; measure at your own length."""
        return self.pairs_per_second * self.tokens_per_pair / tokens_per_pair


@dataclass(frozen=True)
class Capacity:
    """What a load needs. spare_machines: how many may fail at the busiest hour. Prices per machine
    and hour, in the currency given.

    >>> made = Capacity(Load(1_000_000, 50, 500), Speed(200.0, 250), price_per_hour=2.0)
    >>> made.gpus, made.machines, made.cost_per_day
    (29, 30, 1440.0)
    """

    load: Load
    speed: Speed
    gpus_per_machine: int = 1
    price_per_hour: float | None = None
    currency: str = ""
    utilisation: float = UTILISATION
    spare_machines: int = 1

    def __post_init__(self) -> None:
        positive_amount(self.gpus_per_machine, "GPUs per machine")
        if not 0 < self.utilisation <= 1:
            raise InputError("The utilisation is a share between 0 and 1.", hint="e.g. 0.6")
        if self.spare_machines < 0:
            raise InputError("There cannot be fewer than 0 spare machines.")
        if self.price_per_hour is not None:
            positive_amount(self.price_per_hour, "the price per hour")

    @property
    def pairs_per_second_of_a_gpu(self) -> float:
        """What is planned with: the measured speed at this length, less the air for the queue."""
        return self.speed.at(self.load.tokens_per_pair) * self.utilisation

    @property
    def gpus(self) -> int:
        return math.ceil(
            round(self.load.pairs_per_second_at_peak / self.pairs_per_second_of_a_gpu, 9)
        )

    @property
    def machines(self) -> int:
        return math.ceil(self.gpus / self.gpus_per_machine) + self.spare_machines

    @property
    def cost_per_day(self) -> float | None:
        """All machines, day and night."""
        return None if self.price_per_hour is None else self.machines * 24 * self.price_per_hour

    @property
    def least_cost_per_day(self) -> float | None:
        """If machines could be rented by the second, just as many as are needed: nobody can go
        below it, and autoscaling goes towards it."""
        if self.price_per_hour is None:
            return None
        hours = self.load.pairs_per_day / self.pairs_per_second_of_a_gpu / SECONDS_PER_HOUR
        return hours / self.gpus_per_machine * self.price_per_hour

    @property
    def cost_per_thousand_queries(self) -> float | None:
        if self.cost_per_day is None:
            return None
        return self.cost_per_day / self.load.queries_per_day * 1000

    def as_dict(self) -> dict[str, Any]:
        """As `rerank-kit plan --queries-per-day ... --json` prints it."""
        return {
            "load": asdict(self.load),
            "speed": asdict(self.speed),
            "pairs_per_day": self.load.pairs_per_day,
            "pairs_per_second_at_peak": self.load.pairs_per_second_at_peak,
            "pairs_per_second_of_a_gpu": self.pairs_per_second_of_a_gpu,
            "gpus": self.gpus,
            "machines": self.machines,
            "spare_machines": self.spare_machines,
            "cost_per_day": self.cost_per_day,
            "least_cost_per_day": self.least_cost_per_day,
            "cost_per_thousand_queries": self.cost_per_thousand_queries,
            "currency": self.currency,
        }

    def __str__(self) -> str:
        return "\n".join(self.arithmetic())

    def arithmetic(self) -> list[str]:
        """The sum, one step a line."""
        load, speed = self.load, self.speed
        measured = speed.at(load.tokens_per_pair)
        lines = [
            f"pairs per day:     {load.queries_per_day:,.0f} queries x "
            f"{load.documents_per_query:,} documents = {load.pairs_per_day:,.0f}",
            f"at the busiest:    {load.pairs_per_day:,.0f} / {SECONDS_PER_DAY:,} s x "
            f"{load.peak_factor:g} = {load.pairs_per_second_at_peak:,.1f} pairs/s",
            f"one GPU:           {speed.pairs_per_second:,.1f} pairs/s x {speed.tokens_per_pair:,} "
            f"/ {load.tokens_per_pair:,} tokens = {measured:,.1f} pairs/s",
            f"planned with:      {measured:,.1f} x {self.utilisation:.0%} = "
            f"{self.pairs_per_second_of_a_gpu:,.1f} pairs/s",
            f"GPUs:              {load.pairs_per_second_at_peak:,.1f} / "
            f"{self.pairs_per_second_of_a_gpu:,.1f}, rounded up = {self.gpus:,}",
            f"machines:          {self.gpus:,} / {self.gpus_per_machine}, rounded up, + "
            f"{self.spare_machines} spare = {self.machines:,}",
        ]
        day, least = self.cost_per_day, self.least_cost_per_day
        if self.price_per_hour is None or day is None or least is None:
            return lines
        thousand = day / load.queries_per_day * 1000
        price = money(self.price_per_hour, self.currency)
        return [
            *lines,
            f"money:             {self.machines:,} x 24 h x {price} = "
            f"{money(day, self.currency)} a day, {money(day * DAYS_PER_MONTH, self.currency)} "
            f"in {DAYS_PER_MONTH} days",
            f"per 1,000 queries: {money(thousand, self.currency)}",
            f"at the least:      {money(least, self.currency)} a day, if machines came and went "
            "with the load",
        ]
