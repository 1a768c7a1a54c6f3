"""Launch: a profile, sliders that move a memory bar, start, stop, and a card when it fails."""

from __future__ import annotations

import functools
from typing import Any

import ipywidgets as widgets

from rerank_kit.panels.logic.choice import CACHE, LENGTH, MODELS, STEP
from rerank_kit.panels.logic.launching import LaunchModel
from rerank_kit.panels.logic.memory_bar import MIB
from rerank_kit.panels.views import frame
from rerank_kit.panels.views.memory_bar import memory_html
from rerank_kit.server.profiles import PROFILES


class LaunchPanel(frame.Panel):
    title = "Launch"
    purpose = "Start a server, see what it needs and how far it is, mend it, stop it."
    code = "server = launch(profile, model, extra_args=...); server.stop()"
    model: LaunchModel

    def __init__(self, profile: str = "auto", *, shared: bool = False) -> None:
        super().__init__(LaunchModel(profile, shared=shared))
        self.model.look()
        self.model.watch_live()

    def build(self) -> list[widgets.Widget]:
        model = self.model
        self.profile = frame.field(widgets.Dropdown(
            options=list(PROFILES), value=model.profile, description="Profile",
        ), "medium")  # fmt: skip
        self.why = frame.text()
        self.which = frame.field(widgets.Dropdown(
            options=list(MODELS), description="Model"), "medium")  # fmt: skip
        self.price = frame.field(widgets.BoundedFloatText(
            value=model.price_per_hour, min=0.0, max=10_000.0, step=0.1,
            description="Price an hour (0: free)"), "narrow")  # fmt: skip
        self.length = frame.Slider("Longest query + document, tokens", 256, 40960, 256)
        self.step = frame.Slider("Tokens in one step", 256, 16384, 256)
        self.cache = frame.Slider("KV cache, MiB", 1, 8192, 1)
        self.flags = frame.field(widgets.Text(
            description="More flags of vLLM", placeholder="--enforce-eager",
            continuous_update=False))  # fmt: skip
        self.memory = frame.text()
        self.command = frame.text()
        self.start = self.button("Start", lambda: model.start(), main=True)
        self.stop = self.button("Stop", lambda: model.stop())
        self.force = self.button("Stop it for everybody", lambda: model.stop(force=True))
        self.state = frame.text()
        self.live = frame.text()
        self.card = frame.text()
        self.fixes = widgets.VBox([])
        self.fixes.add_class("rk-fixes")
        self.show_log = frame.check("Show the end of the log")
        self.log = frame.text()
        self._fixes_shown: list[Any] = []
        self._listen()
        return [
            frame.row(self.profile, self.which, self.price), self.why,
            self.length.box, self.step.box, self.cache.box, self.memory, self.flags, self.command,
            frame.row(self.start, self.stop, self.force), self.state, self.live, self.card,
            self.fixes,
            self.show_log, self.log,
        ]  # fmt: skip

    def _listen(self) -> None:
        model = self.model

        def profile(value: str) -> None:
            model.profile, model.problem = value, None

        def set_flag(flag: str, unit: int, value: int) -> None:
            if value * unit != model.value(flag):
                model.set_flag(flag, value * unit)

        self.on_change(self.profile, profile)
        self.on_change(self.which, model.set_model)
        self.on_change(self.price, lambda value: setattr(model, "price_per_hour", value))
        self.on_change(self.flags, model.set_other_flags)
        self.on_change(self.show_log, lambda _: None)
        for slider, flag, unit in (
            (self.length, LENGTH, 1), (self.step, STEP, 1), (self.cache, CACHE, MIB)
        ):  # fmt: skip
            self.on_change(slider.number, functools.partial(set_flag, flag, unit))

    def show(self) -> None:
        model = self.model
        profile, why = model.chosen() if not model.problem else (model.profile, "")
        self.why.value = f'<p class="rk-soft">Profile {profile}: {frame.escape(why)}.</p>' if (
            model.profile == "auto" and why
        ) else ""  # fmt: skip
        self.length.show(model.value(LENGTH), model.longest() or None)
        self.step.show(model.value(STEP))
        self.cache.show(model.value(CACHE) // MIB)
        frame.set_quietly(self.flags, value=model.other_flags())
        frame.set_quietly(self.which, value=model.attempt.model or MODELS[0])
        bar = model.memory_bar()
        self.memory.value = memory_html(bar) if bar else ""
        command = frame.escape(model.command())
        kind = ' class="rk-ours"' if command.startswith("# ") else ""  # why there is none
        self.command.value = f"<h3>The command that Start runs</h3><pre{kind}>{command}</pre>"
        busy = bool(model.busy)
        self.start.disabled = busy
        self.stop.disabled = model.state == "stopped" or model.busy.startswith("stopping")
        self.force.layout.display = None if model.may_force else "none"
        self.state.value = state_html(model)
        self.live.value = live_html(model)
        self.card.value = card_html(model)
        self._show_fixes()
        log = frame.escape(model.log()) if self.show_log.value else ""
        shown = f"<pre>{log}</pre>" if log else '<pre class="rk-ours">no log yet</pre>'
        self.log.value = shown if self.show_log.value else ""

    def status_html(self) -> str:
        if self.model.diagnosis is not None:
            return frame.status_line("")  # the card says it
        if self.model.state == "starting":
            return frame.status_line("")  # the state line says it
        return super().status_html()

    def _show_fixes(self) -> None:
        found = self.model.fixes() if self.model.diagnosis else []
        if found == self._fixes_shown:
            return
        self._fixes_shown = found
        lines: list[widgets.Widget] = []
        for number, (fix, can_apply) in enumerate(found, start=1):
            change, why = frame.escape(fix.change), frame.escape(fix.why)
            if fix.kind != "advice":  # a flag or a command, the same in every language
                change = f"<code>{change}</code>"
            ours = "class='rk-ours'"
            words = f"<b>{number}.</b> <span {ours}>{change}</span> <span {ours}>{why}</span>"
            parts = [frame.text(f"<div>{words}</div>")]
            if can_apply:
                apply = functools.partial(self.model.apply, fix)
                button = self.button("Apply this fix", apply, tooltip=fix.change)
                parts.append(frame.row(button))
            lines.append(widgets.VBox(parts))
        self.fixes.children = tuple(lines)


def state_html(model: LaunchModel) -> str:
    """One line on the server, a bar while it starts, and what it has cost."""
    cost = model.money_so_far()
    price = f", {cost} so far" if cost else ""
    if model.state == "starting":
        now = model.progress
        if now is None:
            return frame.status_line("Starting ...")
        left = "" if now.seconds_left is None else f", about {now.seconds_left:.0f} s left"
        words = (
            f"Starting: {now.stage}, {now.percent:.0f} %, {now.seconds_elapsed:.0f} s{left}{price}"
        )
        return frame.status_line(words) + frame.progress_bar(now.percent, "start of the server")
    said = frame.escape(model.said)
    if model.state == "ready" and model.record is not None:
        record = model.record
        where = f"{record.served_name} ({record.profile}) at {record.url}{price}."
        return (
            f'<div class="rk-card good" role="status"><b>Ready:</b> {frame.escape(where)} '
            f"{said}</div>"
        )
    words = f"No server is running. {model.said}" if not model.diagnosis else ""
    return frame.status_line(words)


def live_html(model: LaunchModel) -> str:
    """What the ready server does at this moment, by its own numbers."""
    if model.state != "ready" or model.live is None or model.live.url != (
        model.record.url if model.record else ""
    ):  # fmt: skip
        return ""
    cells = "".join(
        f'<div><span class="rk-soft">{frame.escape(name)}</span><b>{frame.escape(value)}</b></div>'
        for name, value in model.live.rows()
    )
    return f'<h3>What it does now</h3><div class="rk-live rk-ours">{cells}</div>'


def card_html(model: LaunchModel) -> str:
    """Why the last start failed: the cause, the line that proves it."""
    found = model.diagnosis
    if found is None:
        return ""
    sure = {"certain": "", "likely": " (likely)", "unknown": " (not sure)"}[found.confidence]
    lines = "".join(
        f"<br>{f'line {one.line}' if one.line else 'exit'}: <code>{frame.escape(one.text)}</code>"
        for one in found.evidence
    )
    return (
        f'<div class="rk-card bad" role="alert"><b>{frame.escape(found.title)}{sure}</b>'
        f"<br>{frame.escape(found.cause)}{lines}"
        f'<br><span class="rk-soft">failure family: {frame.escape(found.family)}</span></div>'
        "<h3>What helps, the cheapest first</h3>"
    )
