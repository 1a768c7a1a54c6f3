"""Tune: which settings to try, a search as it runs, what each one brought and why."""

from __future__ import annotations

import functools
from typing import Any

import ipywidgets as widgets

from rerank_kit.panels.logic.choice import MODELS
from rerank_kit.panels.logic.tuning import OWN_TEXTS, SOURCES, TuneModel
from rerank_kit.panels.views import frame
from rerank_kit.panels.views.tune_result import result_html, steps_html, trying_html
from rerank_kit.server.profiles import PROFILES
from rerank_kit.tuning.knobs import Knob, takes_numbers

_WORDS = {OWN_TEXTS: "my own texts, pasted"}


class TunePanel(frame.Panel):
    title = "Tune"
    purpose = "Find the fastest settings that still rank the same, one at a time."
    code = "tune(Search(settings, knobs, workload, Guard(0.99)))"
    model: TuneModel

    def __init__(self, profile: str = "auto") -> None:
        super().__init__(TuneModel(profile))

    def build(self) -> list[widgets.Widget]:
        model = self.model
        started = [name for name in PROFILES if name != "remote"]
        self.profile = frame.field(widgets.Dropdown(
            options=started, value=model.profile if model.profile in started else "auto",
            description="Profile"), "medium")  # fmt: skip
        self.which = frame.field(widgets.Dropdown(
            options=list(MODELS), description="Model"), "medium")  # fmt: skip
        self.knobs = widgets.VBox([])
        self.boxes: dict[str, tuple[Any, Any]] = {}
        self._offered: tuple[Knob, ...] = ()
        self.dtypes = frame.field(widgets.Text(
            description="Also these number formats", placeholder="float16"), "medium")  # fmt: skip
        self.forms = frame.field(widgets.Text(
            description="Also these quantised forms", placeholder="fp8"), "medium")  # fmt: skip
        self.order = frame.field(widgets.BoundedFloatText(
            value=model.order_kept_percent, min=50.0, max=100.0, step=0.1,
            description="Order that must be kept, %"), "medium")  # fmt: skip
        self.memory = frame.field(widgets.BoundedFloatText(
            value=model.memory_gib, min=0.0, max=4000.0, step=0.5,
            description="Memory at most, GiB (0: all)"), "medium")  # fmt: skip
        self.source = frame.field(widgets.Dropdown(
            options=[(_WORDS.get(name, f"sample corpus: {name}"), name) for name in SOURCES],
            value=model.source, description="Texts"), "medium")  # fmt: skip
        self.length = frame.field(widgets.Text(
            placeholder="512", description="Tokens of a pair (empty: as they are)"),
            "medium")  # fmt: skip
        self.each = frame.field(widgets.BoundedIntText(
            value=model.documents_per_request, min=1, max=1000,
            description="Documents a query"), "narrow")  # fmt: skip
        self.queries = frame.field(widgets.Textarea(
            rows=3, description="Your queries, one a line"))  # fmt: skip
        self.documents = frame.field(widgets.Textarea(
            rows=5, description="Your documents, one a line"))  # fmt: skip
        self.at_once = frame.field(widgets.Text(
            value=model.requests_at_once, description="Requests at once to try"),
            "narrow")  # fmt: skip
        self.seconds = frame.field(widgets.BoundedFloatText(
            value=model.seconds, min=0.5, max=600.0, step=1.0,
            description="Seconds a measurement"), "narrow")  # fmt: skip
        self.starts = frame.field(widgets.BoundedIntText(
            value=model.most_starts, min=1, max=200,
            description="Starts at most"), "narrow")  # fmt: skip
        self.price = frame.field(widgets.BoundedFloatText(
            value=model.price_per_hour, min=0.0, max=10_000.0, step=0.1,
            description="Price an hour (0: free)"), "narrow")  # fmt: skip
        self.currency = frame.field(widgets.Text(
            value=model.currency, description="Currency", placeholder="CNY"), "narrow")  # fmt: skip
        self.again = frame.check("Forget what was measured before")
        self.beside = frame.text()
        self.start = self.button("Start the search", lambda: model.start(), main=True)
        self.stop = self.button("Stop", lambda: model.stop())
        self.state = frame.text()
        self.result = frame.text()
        self.steps = frame.text()
        self._listen()
        return [
            frame.row(self.profile, self.which), frame.text("<h3>Settings to try</h3>"),
            self.knobs, frame.row(self.dtypes, self.forms),
            frame.text("<h3>What must not get worse</h3>"), frame.row(self.order, self.memory),
            frame.text("<h3>What is measured</h3>"),
            frame.row(self.source, self.each, self.length), self.queries, self.documents,
            frame.row(self.at_once, self.seconds, self.starts, self.price, self.currency),
            self.again, self.beside, frame.row(self.start, self.stop), self.state, self.result,
            self.steps,
        ]  # fmt: skip

    def _listen(self) -> None:
        for widget, name in (
            (self.profile, "profile"), (self.dtypes, "dtypes"), (self.forms, "quantisations"),
            (self.order, "order_kept_percent"), (self.memory, "memory_gib"),
            (self.source, "source"), (self.length, "pair_tokens"),
            (self.each, "documents_per_request"), (self.queries, "own_queries"),
            (self.documents, "own_documents"), (self.at_once, "requests_at_once"),
            (self.seconds, "seconds"), (self.starts, "most_starts"),
            (self.price, "price_per_hour"), (self.currency, "currency"), (self.again, "again"),
        ):  # fmt: skip
            self.bind(widget, name)
        self.on_change(self.which, self.model.set_model)

    def show(self) -> None:
        model = self.model
        offered = () if model.problem else model.offered()
        if offered and offered != self._offered:
            self._offer(offered)
        own = None if model.source == OWN_TEXTS else "none"
        self.queries.layout.display = self.documents.layout.display = own
        self.start.disabled, self.stop.disabled = bool(model.busy), not model.busy
        near = model.beside()
        self.beside.value = "" if near is None else (
            '<div class="rk-card warn">A server of ours is running, and takes part of the machine: '
            "speeds are lower beside it.</div>"
        )  # fmt: skip
        self.state.value = trying_html(model)
        self.result.value = result_html(model)
        self.steps.value = steps_html(model.steps)

    def status_html(self) -> str:
        return frame.status_line("") if self.model.busy else super().status_html()

    def _offer(self, offered: tuple[Knob, ...]) -> None:
        """A line for each setting: whether to try it, with which values, what it does."""
        self._offered, lines = offered, []
        for knob in offered:
            chosen = frame.check(knob.name, knob.name not in self.model.left_out)
            chosen.add_class("rk-knob")
            self.on_change(chosen, functools.partial(self._choose, knob.name))
            typed = frame.field(widgets.Text(
                value=self.model.values.get(knob.name, ""), placeholder=", ".join(knob.values),
                description=f"Values of {knob.name} to try"), "quiet")  # fmt: skip
            self.on_change(typed, functools.partial(self._type, knob.name))
            what = frame.text(f"<span class='rk-soft'>{frame.escape(knob.what)}</span>")
            what.add_class("rk-what")
            self.boxes[knob.name] = (chosen, typed)
            parts = [chosen, typed, what] if takes_numbers(knob) else [chosen, what]
            line = frame.row(*parts)
            line.add_class("rk-knobs")
            lines.append(line)
        self.knobs.children = tuple(lines)

    def _choose(self, name: str, wanted: bool) -> None:
        (self.model.left_out.discard if wanted else self.model.left_out.add)(name)
        self.model.problem = None

    def _type(self, name: str, values: str) -> None:
        self.model.values[name] = values
        self.model.problem = None
