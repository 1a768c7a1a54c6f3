"""What a search found: the steps as a table, settings to paste, the price, a plot."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_kit import memory
from rerank_kit.errors import SetupError
from rerank_kit.money.meter import cost_per_thousand_queries, money
from rerank_kit.server.settings import ServerSettings
from rerank_kit.tuning.context import context_advice
from rerank_kit.tuning.knobs import ENVIRONMENT, OFF, SWITCH, Knob, kit_choices, with_choices
from rerank_kit.tuning.search import Search, Step
from rerank_kit.tuning.trial import Trial

_COLOURS = {"kept": "#2a7f4f", "start": "#666666", "slower": "#b0b0b0", "refused": "#c0504d"}


@dataclass(frozen=True)
class Tuned:
    """The end of a search. settings: the profile with the choices in it."""

    steps: tuple[Step, ...]
    best: Trial
    first: Trial
    settings: ServerSettings
    knobs: tuple[Knob, ...]
    profile_choices: dict[str, str]
    documents_per_request: int
    starts: int
    remembered: int
    price_per_hour: float | None = None
    currency: str = ""
    context: str = ""  # what could be said of --max-model-len

    @property
    def gain(self) -> float:
        """How many times as fast as vLLM's defaults."""
        return self.best.pairs_per_second / self.first.pairs_per_second

    @property
    def launch_command(self) -> str:
        """What starts the same server: the profile with what differs from it after the dashes. A
        profile sets its variables itself, so where one differs it is the whole vLLM command."""
        words = []
        for knob in self.knobs:
            value = self.best.choices.get(knob.name, knob.default)
            if value == self.profile_choices.get(knob.name, knob.default):
                continue
            if knob.kind == ENVIRONMENT or value == OFF:
                return self.settings.command_line()
            words.append(knob.name if knob.kind == SWITCH else f"{knob.name} {value}")
        dashes = f" -- {' '.join(words)}" if words else ""
        return f"rerank-kit launch --profile {self.settings.profile}{dashes}"

    @property
    def cost_per_thousand_queries(self) -> float | None:
        if self.price_per_hour is None:
            return None
        return cost_per_thousand_queries(
            self.price_per_hour, self.best.pairs_per_second, self.documents_per_request
        )

    def table(self) -> str:
        rows = [["setting", "", "pairs/s", "cached", "of the limit", "memory"]]
        for step in self.steps:
            trial = step.trial
            if trial is None or trial.failed:
                rows.append([step.setting, step.verdict, "-", "-", "-", "-"])
                continue
            percent, gib = trial.percent_of_limit, trial.memory_gib
            rows.append([
                step.setting, step.verdict, f"{trial.pairs_per_second:.1f}",
                f"{100 * trial.cached_share:.0f} %",
                "-" if percent is None else f"{percent:.0f} %",
                "-" if gib is None else f"{gib:.1f} GiB",
            ])  # fmt: skip
        return "\n".join(memory.aligned(rows, numbers=range(2, 6)))

    def __str__(self) -> str:
        best = self.best
        lines = [
            self.table(), "",
            f"{best.pairs_per_second:.1f} pairs/s instead of {self.first.pairs_per_second:.1f}: "
            f"{self.gain:.1f} times vLLM's defaults, with {best.concurrency} requests at once "
            f"({self.starts} starts, {self.remembered} results from before)",
        ]  # fmt: skip
        cost = self.cost_per_thousand_queries
        if cost is not None:
            lines.append(
                f"{money(cost, self.currency)} for 1,000 queries of "
                f"{self.documents_per_request} documents"
            )
        lines += [self.context] if self.context else []
        return "\n".join([*lines, "", "to paste:", self.launch_command])

    def as_dict(self) -> dict[str, Any]:
        return {
            "gain": round(self.gain, 3),
            "pairs_per_second": round(self.best.pairs_per_second, 3),
            "pairs_per_second_of_defaults": round(self.first.pairs_per_second, 3),
            "percent_of_limit": self.best.percent_of_limit,
            "concurrency": self.best.concurrency,
            "choices": self.best.choices,
            "launch": self.launch_command,
            "command": self.settings.command_line(),
            "cost_per_thousand_queries": self.cost_per_thousand_queries,
            "context": self.context or None,
            "starts": self.starts,
            "remembered": self.remembered,
            "steps": [step.as_dict() for step in self.steps],
        }

    def plot(self, path: str | Path | None = None) -> Any:
        """One bar for each trial: grey lost, green stayed. With a path it is saved there. Raises
        SetupError without matplotlib."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise SetupError(
                "A plot needs matplotlib.", hint='pip install "rerank-kit[notebooks]"'
            ) from None

        class Picture(Figure):
            """A notebook shows it without pyplot, too."""

            def _repr_png_(self) -> bytes:
                with io.BytesIO() as file:
                    self.savefig(file, format="png")
                    return file.getvalue()

        tried = [step for step in self.steps if step.trial is not None and not step.trial.failed]
        size = (7, 0.9 + 0.35 * len(tried))
        figure = Picture(figsize=size, layout="constrained", facecolor="white")
        axes = figure.subplots()
        names = [f"{place}. {step.setting}" for place, step in enumerate(tried)]
        speeds = [step.trial.pairs_per_second for step in tried if step.trial is not None]
        colours = [_COLOURS.get(step.verdict, "#b0b0b0") for step in tried]
        bars = axes.barh(names, speeds, color=colours)
        axes.bar_label(bars, fmt="%.1f", padding=3)
        axes.invert_yaxis()
        axes.set_xlabel("pairs per second")
        axes.set_title("green stayed, grey went, red would rank otherwise", loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        if path is not None:
            figure.savefig(path)
        return figure


def tune(search: Search, price_per_hour: float | None = None, currency: str = "") -> Tuned:
    """Run a search to its end. What it measured stays in its state file: interrupted and called
    again, it goes on."""
    best = search.run()
    first = search.steps[0].trial
    assert first is not None
    settings = with_choices(search.base, search.knobs, best.choices)
    return Tuned(
        tuple(search.steps), best, first, settings,
        search.knobs, kit_choices(search.base, search.knobs), search.workload.documents_per_request,
        search.starts, search.remembered, price_per_hour, currency,
        context_advice(settings, search.workload),
    )  # fmt: skip
