"""Rank: a query, documents, a button, bars."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from rerank_kit.client import Reranker
from rerank_kit.client.long_documents import MODES
from rerank_kit.client.ranking import clip
from rerank_kit.client.scores import probability
from rerank_kit.panels.logic.ranking import (
    COMPARISONS,
    LINES,
    OWN,
    PARAGRAPHS,
    Ranked,
    RankModel,
)
from rerank_kit.panels.views import frame
from rerank_kit.panels.views.batch import TOY, BatchFields, file_words

#: As much of a document as a line of the result shows.
SHOWN_COLUMNS = 400
_LONG = {
    "chunk": "score it in passages", "cut": "score its beginning", "skip": "leave it out",
    "error": "stop with an error",
}  # fmt: skip
NOTHING_LEFT = (
    '<p class="rk-ours">Nothing is left: no document reaches the lowest score you asked for.</p>'
)


class RankPanel(frame.Panel):
    title = "Rank"
    purpose = "Put your own texts in the order in which they answer a query."
    code = "reranker.rank(query, documents, instruction, top_n, threshold=...)"
    model: RankModel

    def __init__(self, reranker: Reranker | None = None) -> None:
        super().__init__(RankModel(reranker))

    def build(self) -> list[widgets.Widget]:
        model = self.model
        self.query = frame.field(widgets.Text(
            value=model.query, description="Query: what are you looking for?"))  # fmt: skip
        self.text = frame.field(widgets.Textarea(
            value=model.text, rows=7, description="Documents: paste your texts"))  # fmt: skip
        self.split_by = frame.field(widgets.Dropdown(
            options=[("one document a line", LINES), ("paragraphs parted by empty lines",
            PARAGRAPHS)], value=model.split_by, description="The texts are"), "medium")  # fmt: skip
        self.upload = widgets.FileUpload(
            accept=".txt,.md,.jsonl,.csv,text/plain", multiple=False,
            description="Take a file instead", tooltip="a UTF-8 text file or JSON lines",
        )
        self.forget = self.button("Back to the box", lambda: self._take_file(()))
        self.file_line = frame.text()
        self.top_n = frame.field(widgets.BoundedIntText(
            value=0, min=0, max=100_000, description="How many (0: all)"), "narrow")  # fmt: skip
        self.threshold = frame.field(widgets.BoundedFloatText(
            value=0.0, min=0.0, max=1.0, step=0.05, description="Lowest score (0: all)"),
            "narrow")  # fmt: skip
        self.long = frame.field(widgets.Dropdown(
            options=[(_LONG[mode], mode) for mode in MODES], value=model.long_documents,
            description="A document that is too long"), "medium")  # fmt: skip
        self.instruction = frame.field(widgets.Dropdown(
            options=model.instruction_names(), value=model.instruction_name,
            description="Instruction: what relevant means"), "medium")  # fmt: skip
        self.compare = frame.field(widgets.Dropdown(
            options=list(COMPARISONS), value=model.compare_with,
            description="Compare the order with"), "medium")  # fmt: skip
        self.own = frame.field(widgets.Textarea(
            rows=2, description="Your instruction, best in English"))  # fmt: skip
        self.about = frame.text()
        self.show_prompt = frame.check("Show the very prompt that the model reads")
        self.prompt = frame.text()
        self.batch = BatchFields(self, model)
        self.rank = self.button("Rank", self._rank, main=True)
        self.result = frame.text()
        self.history = frame.field(widgets.Dropdown(
            options=[("nothing yet", None)], description="Earlier rankings"), "medium")  # fmt: skip
        self.beside = frame.field(widgets.Dropdown(
            options=[("none", None)], description="Beside it"), "medium")  # fmt: skip
        self.earlier = frame.row(self.history, self.beside)
        self._listen()
        return [
            self.batch.many, self.query, self.batch.queries, self.batch.files,
            self.batch.file_line, self.text,
            frame.row(self.split_by, self.upload, self.forget), self.file_line,
            frame.row(self.instruction, self.compare, self.top_n, self.threshold, self.long),
            self.own, self.about, self.show_prompt, self.prompt,
            frame.row(self.rank, self.batch.stop), self.result, self.batch.result, self.earlier,
        ]  # fmt: skip

    def _listen(self) -> None:
        for widget, name in (
            (self.query, "query"), (self.text, "text"), (self.split_by, "split_by"),
            (self.long, "long_documents"), (self.own, "own_instruction"),
            (self.instruction, "instruction_name"), (self.compare, "compare_with"),
        ):  # fmt: skip
            self.bind(widget, name)
        self.on_change(self.top_n, lambda value: setattr(self.model, "top_n", value or None))
        self.on_change(self.threshold, lambda value: setattr(
            self.model, "threshold", value or None))  # fmt: skip
        self.on_change(self.upload, self._take_file)
        self.on_change(self.show_prompt, lambda _: None)
        self.on_change(self.history, self._take_history)
        self.on_change(self.beside, self._take_beside)
        frame.on_enter(self.query, lambda: self.do(self._rank))

    def _rank(self) -> None:
        self.model.rank()

    def _take_file(self, value: tuple[dict[str, Any], ...]) -> None:
        self.model.file = (value[0]["name"], bytes(value[0]["content"])) if value else None
        self.model.problem = None
        if not value:
            frame.set_quietly(self.upload, value=())

    def _take_history(self, place: int | None) -> None:
        if place is not None:
            self.model.show(place)

    def _take_beside(self, place: int | None) -> None:
        self.model.put_beside(place)

    def show(self) -> None:
        model = self.model
        self.rank.disabled = bool(model.busy)
        self.batch.show(model)
        one = None if not model.many else "none"
        self.query.layout.display = self.compare.layout.display = one
        self.result.layout.display = one
        self.text.layout.display = "none" if model.file else None
        self.forget.layout.display = None if model.file else "none"
        self.own.layout.display = None if model.instruction_name == OWN else "none"
        self.file_line.value = file_words(model.file)
        warned = model.warning()
        warning = f'<div class="rk-card warn">{frame.escape(warned)}</div>' if warned else ""
        about = frame.escape(model.about_instruction())
        self.about.value = f'<p class="rk-soft">{about}</p>{warning}'
        shows = self.show_prompt.value
        self.prompt.value = f"<pre>{frame.escape(model.preview())}</pre>" if shows else ""
        if model.shown is not None:
            self.result.value = (
                result_html(model.shown) if model.beside is None
                else side_by_side_html(model.shown, model.beside)
            )
        self._show_history()

    def _show_history(self) -> None:
        model = self.model
        entries: list[tuple[str, int | None]] = [
            (_entry(one), place) for place, one in enumerate(model.history)
        ]
        shows = len(entries) > 1 and not model.many
        self.earlier.layout.display = None if shows else "none"
        for field, shown, options in (
            (self.history, model.shown, entries),
            (self.beside, model.beside, [("none", None), *entries]),
        ):
            place = model.history.index(shown) if shown in model.history else None
            if entries and list(field.options) != options:
                field.options = options
            if entries:
                frame.set_quietly(field, value=place)


def result_html(ranked: Ranked) -> str:
    """The ranking with bars and what moved; below it the files to take away."""
    both = bool(ranked.scores_before)
    rows = [
        [
            str(row.rank), f"{row.score:.3f}", *([_number(row.score_before)] if both else []),
            frame.bar(_share(row.score, ranked)), moved(row.moved),
            frame.escape(clip(row.text, SHOWN_COLUMNS)),
        ]
        for row in ranked.rows()
    ]  # fmt: skip
    notes = [*ranked.ranking.notes]
    notes += [f"document {one.index} was left out: {one.reason}" for one in ranked.ranking.unscored]
    toy = TOY if ranked.ranking.model == "practice" else ""
    links = (
        frame.download("Save as CSV", "ranking.csv", ranked.as_csv(), "text/csv")
        + frame.download("Save as JSON", "ranking.json", ranked.as_json(), "application/json")
    )
    heads = ["rank", "score", *(["before"] if both else []), "", "moved", "document"]
    numbers = (0, 1, 2) if both else (0, 1)
    return (
        f'<h3 class="rk-theirs">{frame.escape(ranked.ranking.query)}</h3>'
        f'<p class="rk-soft">{frame.escape(ranked.summary())}; moved: against '
        f"{frame.escape(ranked.compared_with)}</p>"
        + (frame.table(heads, rows, numbers, "ranking") if rows else NOTHING_LEFT)
        + frame.notes(notes) + toy + f'<p class="rk-links">{links}</p>'
    )  # fmt: skip


def side_by_side_html(one: Ranked, other: Ranked) -> str:
    """Two rankings with their settings; moved: against the other one, document by document."""
    sides = []
    for ranked, against in ((one, other), (other, one)):
        places = {(row.index, row.text): row.rank for row in against.rows()}
        rows = []
        for row in ranked.rows():
            place = places.get((row.index, row.text))
            change = "-" if place is None else moved(place - row.rank)
            rows.append([str(row.rank), f"{row.score:.3f}", change,
                         frame.escape(clip(row.text, SHOWN_COLUMNS // 2))])  # fmt: skip
        choices = "<br>".join(frame.escape(choice) for choice in ranked.choices)
        heads = ["rank", "score", "moved", "document"]
        sides.append(
            f'<div><h3 class="rk-theirs">{frame.escape(ranked.ranking.query)}</h3>'
            f'<p class="rk-soft">{frame.escape(ranked.summary())}<br>{choices}</p>'
            + frame.table(heads, rows, (0, 1), "ranking") + "</div>"
        )
    return f'<div class="rk-columns">{"".join(sides)}</div>'


def moved(places: int) -> str:
    """How far a document moved, in a sign and in words."""
    if places > 0:
        return f'<span class="rk-up" title="moved up {places}">▲ {places}</span>'
    if places < 0:
        return f'<span class="rk-down" title="moved down {-places}">▼ {-places}</span>'
    return '<span class="rk-down" title="stayed">=</span>'


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def _share(score: float, ranked: Ranked) -> float:
    return probability(score) if ranked.ranking.raw_scores else score


def _entry(ranked: Ranked) -> str:
    first = clip(ranked.ranking[0].text, 30) if len(ranked.ranking) else "nothing"
    return f"{clip(ranked.ranking.query, 40)} → {first} ({ranked.instruction_name})"
