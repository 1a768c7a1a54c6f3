"""What all panels share: the frame, the style, the buttons, the place where errors are shown."""

from __future__ import annotations

import base64
import html
import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import ipywidgets as widgets

from rerank_kit.panels.logic.work import Model, Problem
from rerank_kit.panels.views import language

WITHOUT_BUTTONS = (
    "No buttons to be seen? They need a live kernel: run this cell in JupyterLab, or use the "
    "panels as a web page: bash scripts/webapp.sh"
)


class Panel:
    """A model and its widgets. Subclasses say title, purpose and code, build the widgets once,
    and bring them up to date in show()."""

    title = ""
    purpose = ""
    code = ""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.last_error: BaseException | None = None
        self._showing = threading.RLock()
        self._language = language.default_language()
        self._words = language.Words()
        self.status = widgets.HTML()
        self.body = self.build()
        heading = text(
            f"<h2>{escape(self.title)}</h2><p class='rk-soft'>{escape(self.purpose)}"
            + (f" In code: <code>{escape(self.code)}</code></p>" if self.code else "</p>")
        )
        self.widget = widgets.VBox([styles(), heading, *self.body, self.status])
        self.widget.add_class("rk")
        model.watch(self.refresh)
        self.refresh()

    @property
    def language(self) -> str:
        """en or zh; set it to change the words of this panel (RERANK_KIT_LANGUAGE for all)."""
        return self._language

    @language.setter
    def language(self, wanted: str) -> None:
        self._language = language.checked(wanted)
        self.refresh()

    def build(self) -> list[widgets.Widget]:
        """The widgets, top to bottom."""
        raise NotImplementedError

    def show(self) -> None:
        """Bring the widgets up to date with the model."""

    def status_html(self) -> str:
        """The last line: what is done now, or what went wrong."""
        if self.model.problem:
            return problem_html(self.model.problem)
        return status_line(f"{self.model.busy} ..." if self.model.busy else "")

    def refresh(self) -> None:
        """Show the model. An error while doing so is shown, too: never a dead panel."""
        with self._showing:
            try:
                self.show()
                self.status.value = self.status_html()
                self._words.show(self.widget, self._language)
            except Exception as error:
                self.model.fail(error)
                self.last_error = error
                assert self.model.problem is not None
                self.status.value = problem_html(self.model.problem)

    def button(
        self, label: str, action: Callable[[], object], *, main: bool = False, tooltip: str = ""
    ) -> widgets.Button:
        """A button whose errors appear in the panel."""
        made = widgets.Button(
            description=label, button_style="primary" if main else "", tooltip=tooltip or label
        )
        made.on_click(lambda _: self.do(action))
        return made

    def do(self, action: Callable[[], object]) -> None:
        """Run an action of the user's; what it raises is shown in the panel."""
        try:
            action()
        except Exception as error:
            self.last_error = error
            self.model.fail(error)
        self.refresh()

    def on_change(self, widget: widgets.Widget, action: Callable[[Any], object]) -> None:
        """Call action with the new value whenever the user changes a field."""
        widget.observe(lambda change: self.do(lambda: action(change["new"])), "value")

    def bind(self, widget: widgets.Widget, name: str) -> None:
        """What the user changes in a field goes into the model's attribute of that name."""

        def take(value: Any) -> None:
            if getattr(self.model, name) != value:
                setattr(self.model, name, value)
                self.model.problem = None  # it was about what stood there before

        self.on_change(widget, take)

    def __repr__(self) -> str:
        code = f"  in code: {self.code}\n" if self.code else ""
        return f"{self.title}: {self.purpose}\n{code}  {WITHOUT_BUTTONS}"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(self.widget._repr_mimebundle_(**options) or {})
        bundle["text/plain"] = repr(self)
        return bundle


def escape(value: object) -> str:
    """Text from anywhere, harmless in HTML."""
    return html.escape(str(value))


def text(markup: str = "") -> widgets.HTML:
    """A piece of HTML. Everything in it that came from outside has to be escaped before."""
    return widgets.HTML(markup)


@cache
def _css() -> str:
    return (files("rerank_kit.panels.views") / "style.css").read_text(encoding="utf-8")


def styles() -> widgets.HTML:
    """The panels' style sheet; every panel brings it, since each may be shown alone."""
    return widgets.HTML(f"<style>{_css()}</style>", layout={"height": "0", "margin": "0"})


def field(made: widgets.Widget, width: str = "wide") -> widgets.Widget:
    """A labelled input: the description stands above it, and screen readers read it. width:
    wide takes the room there is, narrow a short number's."""
    made.add_class("rk-field")
    made.add_class(f"rk-{width}")
    made.style.description_width = "auto"
    return made


def row(*made: widgets.Widget) -> widgets.Box:
    """Side by side, in several lines where the window is narrow."""
    box = widgets.HBox(list(made))
    box.add_class("rk-row")
    return box


class Slider:
    """A number to type (labelled, for keyboards and screen readers) and a slider to drag.
    ipywidgets gives a slider's handle no name; the web page's template adds it."""

    def __init__(self, label: str, least: int, most: int, step: int, value: int = 0) -> None:
        self.number = field(widgets.BoundedIntText(
            min=least, max=most, step=step, description=label,
            value=value or least), "number")  # fmt: skip
        self.slider = widgets.IntSlider(
            min=least, max=most, step=step, value=value or least, readout=False,
            continuous_update=False, layout={"flex": "1 1 220px"},
        )
        widgets.link((self.number, "value"), (self.slider, "value"))
        self.box = row(self.number, self.slider)

    def show(self, value: int, most: int | None = None) -> None:
        """Show a value; the range grows where the value asks for it."""
        highest = max(value, most or self.number.max)
        for one in (self.slider, self.number):
            if one.max != highest and (most or highest > one.max):
                one.max = highest
            if value < one.min:
                one.min = value
        set_quietly(self.number, value=value)


def check(label: str, value: bool = False) -> widgets.Checkbox:
    made = widgets.Checkbox(value=value, description=label, indent=False)
    made.add_class("rk-check")
    return made


def on_enter(made: widgets.Text, action: Callable[[], object]) -> None:
    """Call action when the user presses Enter in a line of text."""
    made.on_msg(lambda _, content, buffers: content.get("event") == "submit" and action())


def set_quietly(made: widgets.Widget, **values: Any) -> None:
    """Set traits that differ, so that a field is not redrawn while somebody types in it."""
    for name, value in values.items():
        if getattr(made, name) != value:
            setattr(made, name, value)


def status_line(words: str) -> str:
    return f'<div class="rk-status" role="status" aria-live="polite">{escape(words)}</div>'


def problem_html(problem: Problem) -> str:
    """One sentence, the evidence, the hint."""
    parts = [f"<b>{escape(problem.sentence)}</b>"]
    if problem.evidence:
        parts.append(f"<br><code>{escape(problem.evidence[:400])}</code>")
    if problem.hint:
        parts.append(f"<br>Try: {escape(problem.hint)}")
    return f'<div class="rk-problem" role="alert">{"".join(parts)}</div>'


def notes(made: Sequence[str]) -> str:
    """What was done to the texts, a line each."""
    return "".join(f'<p class="rk-ours">note: {escape(one)}</p>' for one in made)


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = (),
    caption: str = "",
) -> str:
    """An HTML table; cells are HTML, escaped by the caller. numbers: right-aligned columns. A
    column without a name has no heading cell: a reader of screens would stop at an empty one."""
    right = set(numbers)

    def cell(tag: str, at: int, value: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        return f'<{tag}{scope} class="{"n" if at in right else "t"}">{value}</{tag}>'

    def line(values: Sequence[str], head: bool = False) -> str:
        return "".join(
            cell("th" if head and value else "td", at, value) for at, value in enumerate(values)
        )

    head = f"<thead><tr>{line(heads, head=True)}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{line(values)}</tr>" for values in rows)
    label = f' aria-label="{escape(caption)}"' if caption else ""
    return f"<table{label}>{head}<tbody>{body}</tbody></table>"


def bar(share: float, look: str = "") -> str:
    """A bar of 0 to 1. The number beside it says the same, so readers of screens pass it over.
    look: good, bad, soft, plain; the panel's own colour without one."""
    percent = 100 * min(max(share, 0.0), 1.0)
    kind = f"rk-bar {look}".rstrip()
    return f'<span class="{kind}" aria-hidden="true"><i style="width:{percent:.1f}%"></i></span>'


def progress_bar(percent: float, what: str) -> str:
    """How far something is. what: its name, for readers of screens."""
    return (
        f"<div class='rk-progress' role='progressbar' aria-label='{escape(what)}' "
        f"aria-valuemin='0' aria-valuemax='100' aria-valuenow='{percent:.0f}'>"
        f"<i style='width:{percent:.1f}%'></i></div>"
    )


def download(label: str, name: str, content: str, kind: str) -> str:
    """A link that saves content as a file, without a server."""
    data = base64.b64encode(content.encode("utf-8")).decode("ascii")
    return (
        f'<a download="{escape(name)}" href="data:{kind};charset=utf-8;base64,{data}">'
        f"{escape(label)}</a>"
    )
