"""All panels as the tabs of one page, for people who do not code."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from rerank_kit.language import LANGUAGES
from rerank_kit.panels.logic.work import Model
from rerank_kit.panels.views import frame
from rerank_kit.panels.views.doctor import DoctorPanel
from rerank_kit.panels.views.judge import JudgePanel
from rerank_kit.panels.views.launch import LaunchPanel
from rerank_kit.panels.views.memory import MemoryPanel
from rerank_kit.panels.views.money import MoneyPanel
from rerank_kit.panels.views.rank import RankPanel
from rerank_kit.panels.views.search import SearchPanel
from rerank_kit.panels.views.tune import TunePanel

TABS: tuple[tuple[str, Callable[[], frame.Panel]], ...] = (
    ("Rank", RankPanel),
    ("Search", SearchPanel),
    ("Judge", JudgePanel),
    ("Launch", lambda: LaunchPanel(os.environ.get("RERANK_PROFILE") or "auto", shared=True)),
    ("Memory", MemoryPanel),
    ("Tune", lambda: TunePanel(os.environ.get("RERANK_PROFILE") or "auto")),
    ("Doctor", DoctorPanel),
    ("Money", MoneyPanel),
)


class AppPanel(frame.Panel):
    """Tabs as buttons: every one is reached with Tab and pressed with Enter."""

    title = "rerank_kit"
    purpose = "Rank your own texts with Qwen3-Reranker."

    def __init__(self) -> None:
        self.panels: dict[str, frame.Panel] = {}
        self.open = TABS[0][0]
        super().__init__(Model())
        self.widget.add_class("rk-app")
        launch: Any = self.panel("Launch")
        launch.model.watch(self.refresh)
        launch.model.watch_for_servers()
        self.refresh()

    def build(self) -> list[widgets.Widget]:
        self.tabs = {
            name: widgets.Button(description=name, tooltip=f"show the {name} panel")
            for name, _ in TABS
        }
        for name, tab in self.tabs.items():
            tab.on_click(lambda _, name=name: self.do(lambda: self.go_to(name)))
        bar = widgets.HBox(list(self.tabs.values()))
        bar.add_class("rk-tabs")
        self.place = widgets.VBox([])
        self.server_line = frame.text()
        # Each language in its own words, so that whoever needs the switch can read it.
        self.speak = frame.field(widgets.Dropdown(
            options=[(name, key) for key, name in LANGUAGES.items()],
            value=self.language, description="Language / 语言"), "narrow")  # fmt: skip
        self.on_change(self.speak, self.speak_in)
        return [frame.row(self.server_line, self.speak), bar, self.place]

    def speak_in(self, wanted: str) -> None:
        """Show the page and all its panels in a language; for this viewer only."""
        self.language = wanted
        for panel in self.panels.values():
            panel.language = wanted

    def panel(self, name: str) -> frame.Panel:
        """The panel of a tab, made when it is first opened."""
        if name not in self.panels:
            self.panels[name] = dict(TABS)[name]()
            self.panels[name].language = self.language
        return self.panels[name]

    def go_to(self, name: str) -> None:
        self.open = name

    def show(self) -> None:
        for name, tab in self.tabs.items():
            frame.set_quietly(tab, button_style="info" if name == self.open else "")
        wanted = (self.panel(self.open).widget,)
        if self.place.children != wanted:
            self.place.children = wanted
        launch: Any = self.panels.get("Launch")
        self.server_line.value = _server_line(launch.model) if launch else ""
        if launch:
            launch.model.live_wanted = self.open == "Launch"  # thirty viewers, one server


def _server_line(model: Any) -> str:
    if model.state == "ready" and model.record is not None:
        words = f"Server: ready, {model.record.served_name}"
    elif model.state == "starting":
        now = model.progress
        words = "Server: starting" + (f", {now.stage}, {now.percent:.0f} %" if now else "")
    else:
        words = "Server: none runs. Start one in the Launch tab."
    return frame.status_line(words)
