"""Money: the price, what is spent, what is left, the guard."""

from __future__ import annotations

import ipywidgets as widgets

from rerank_kit.money.guard_files import COUNTDOWN
from rerank_kit.money.meter import money
from rerank_kit.panels.logic.spending import ON_LIMIT, MoneyModel
from rerank_kit.panels.views import frame

_WORDS = {"stop": "stop the servers", "warn": "only warn"}


class MoneyPanel(frame.Panel):
    title = "Money"
    purpose = "What this hour costs, and a guard that ends it."
    code = "money.start_guard(money.Budget(price_per_hour, limit))"
    model: MoneyModel

    def __init__(self) -> None:
        super().__init__(MoneyModel())
        if self.model.is_on:
            self.model.keep_looking()

    def build(self) -> list[widgets.Widget]:
        model = self.model
        self.price = frame.field(widgets.BoundedFloatText(
            value=model.price_per_hour, min=0.0, max=100_000.0, step=0.1,
            description="Price an hour"), "narrow")  # fmt: skip
        self.limit = frame.field(widgets.BoundedFloatText(
            value=model.limit, min=0.0, max=1_000_000.0, step=1.0,
            description="Spend at most"), "narrow")  # fmt: skip
        self.currency = frame.field(widgets.Text(
            value=model.currency, description="Currency", placeholder="CNY"), "narrow")  # fmt: skip
        self.on_limit = frame.field(widgets.Dropdown(
            options=[(_WORDS[word], word) for word in ON_LIMIT], value=model.on_limit,
            description="At the limit"), "narrow")  # fmt: skip
        self.idle = frame.field(widgets.BoundedFloatText(
            value=model.idle_minutes, min=0.0, max=100_000.0,
            description="Idle minutes, too (0: never)"), "medium")  # fmt: skip
        for widget, name in (
            (self.price, "price_per_hour"), (self.limit, "limit"), (self.currency, "currency"),
            (self.on_limit, "on_limit"), (self.idle, "idle_minutes"),
        ):  # fmt: skip
            self.bind(widget, name)
        self.numbers = frame.text()
        self.steps = frame.text()
        self.guard = frame.text()
        self.on = self.button("Guard on", lambda: model.switch_on(), main=True)
        self.off = self.button("Guard off", lambda: model.switch_off())
        self.cancel = self.button("Cancel the countdown", lambda: model.cancel())
        self.look = self.button("Look again", lambda: model.look())
        self.messages = frame.text()
        return [
            frame.row(self.price, self.limit, self.currency, self.on_limit, self.idle),
            self.numbers, self.steps, self.guard,
            frame.row(self.on, self.off, self.cancel, self.look), self.messages,
        ]  # fmt: skip

    def show(self) -> None:
        model = self.model
        rows = [[frame.escape(what), frame.escape(amount)] for what, amount in model.rows()]
        self.numbers.value = frame.table(["", ""], rows, (), "money so far")
        self.steps.value = _steps_html(model)
        look = "good" if model.is_on else "warn"
        self.guard.value = (
            f'<div class="rk-card {look}" role="status">{frame.escape(model.guard_words())}</div>'
        )
        busy = bool(model.busy)
        self.on.disabled = busy
        self.off.disabled = busy or not model.is_on
        counting = model.is_on and model.guard.state == COUNTDOWN
        self.cancel.layout.display = None if counting else "none"
        said = "\n".join(map(_message_html, model.guard.messages[-5:]))
        self.messages.value = f'<pre class="rk-ours">{said}</pre>' if said else ""


def _message_html(message: str) -> str:
    """The time, and what the guard said then."""
    at, gap, words = message.partition("  ")
    return f"{frame.escape(at)}{gap}<span>{frame.escape(words)}</span>"


def _steps_html(model: MoneyModel) -> str:
    """What each step in this window took and cost."""
    rows = [
        [frame.escape(one.name), str(one.times) if one.times else "", _time(one.seconds),
         "-" if one.cost is None else frame.escape(_cost(one.cost, model.currency))]
        for one in model.steps()
    ]  # fmt: skip
    if not rows:
        return ""
    heads = ["step", "times", "took", "cost"]
    return "<h3>What each step cost, in this window</h3>" + frame.table(
        heads, rows, (1, 2, 3), "what each step cost"
    )


def _cost(amount: float, currency: str) -> str:
    """Below a ten-thousandth the figures say nothing."""
    return money(amount, currency) if amount >= 0.0001 else f"< {money(0.0001, currency)}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
