"""Search: a folder, a query, and the two orders side by side."""

from __future__ import annotations

import ipywidgets as widgets

from rerank_kit.client import Reranker
from rerank_kit.client.ranking import clip
from rerank_kit.panels.logic.searching import SearchModel
from rerank_kit.panels.views import frame
from rerank_kit.panels.views.rank import moved
from rerank_kit.panels.views.texts import TextsField
from rerank_kit.search.pipeline import Found

SHOWN_COLUMNS = 220


class SearchPanel(frame.Panel):
    title = "Search"
    purpose = "Search your own files: what words find, beside what the reranker makes of it."
    code = "Search(Bm25(documents), reranker).run(query, depth, top_n)"
    model: SearchModel

    def __init__(self, reranker: Reranker | None = None, folder: str = "") -> None:
        super().__init__(SearchModel(reranker, folder))

    def build(self) -> list[widgets.Widget]:
        model = self.model
        self.texts = TextsField(self, model)
        self.query = frame.field(widgets.Text(description="Query"))
        self.sample = frame.field(widgets.Dropdown(
            options=[("your own", "")], description="Sample questions"), "wide")  # fmt: skip
        self.depth = frame.field(widgets.BoundedIntText(
            value=model.depth, min=1, max=1000, description="Candidates to rerank"),
            "narrow")  # fmt: skip
        self.top_n = frame.field(widgets.BoundedIntText(
            value=model.top_n, min=1, max=100, description="Results to show"),
            "narrow")  # fmt: skip
        self.instruction = frame.field(widgets.Text(
            description="Instruction (empty: official default)"))  # fmt: skip
        self.read = self.button("Read the texts", lambda: model.read())
        self.search = self.button("Search", lambda: model.search(), main=True)
        self.result = frame.text()
        for widget, name in (
            (self.query, "query"), (self.depth, "depth"), (self.top_n, "top_n"),
            (self.instruction, "instruction"),
        ):  # fmt: skip
            self.bind(widget, name)
        self.on_change(self.sample, self._take_sample)
        frame.on_enter(self.query, lambda: self.do(model.search))
        return [
            self.texts.box, frame.row(self.read), self.sample, self.query,
            frame.row(self.depth, self.top_n, self.instruction), frame.row(self.search),
            self.result,
        ]  # fmt: skip

    def _take_sample(self, query: str) -> None:
        if query:
            self.model.query = query

    def show(self) -> None:
        model = self.model
        self.texts.show(model)
        busy = bool(model.busy)
        self.search.disabled = self.read.disabled = busy
        frame.set_quietly(self.query, value=model.query)
        questions = list(model.texts.queries) if model.texts else []
        options = [("your own", ""), *((clip(one, 90), one) for one in questions)]
        if list(self.sample.options) != options:
            self.sample.options = options
        self.sample.layout.display = None if questions else "none"
        self.result.value = self._result()

    def _result(self) -> str:
        model = self.model
        if model.texts is None:
            return ""
        lines = [f'<p class="rk-ours"><b>{frame.escape(model.texts.summary())}</b></p>']
        lines += [frame.notes(model.texts.notes[:5])]
        if model.result is None:
            return "".join(lines)
        lines.append(f'<p class="rk-soft">{frame.escape(model.result.timing())}</p>')
        left = _side("What words find (recall)", model.recalled, {})
        found_by_words = {one.document.id: one.recall_rank for one in model.result}
        right = _side("What the reranker makes of it", model.reranked, found_by_words)
        if not model.reranked:
            right = (
                "<div><h3>What the reranker makes of it</h3>"
                "<p class='rk-ours'>No server runs.</p></div>"
            )
        return "".join([*lines, f'<div class="rk-columns">{left}{right}</div>'])


def _side(heading: str, found: list[Found], places: dict[str, int]) -> str:
    rows = []
    for at, one in enumerate(found, start=1):
        title = f"<b>{frame.escape(one.document.title)}</b><br>" if one.document.title else ""
        words = title + frame.escape(clip(one.document.text, SHOWN_COLUMNS))
        source = f'<br><span class="rk-soft">{frame.escape(one.document.id)}</span>'
        if places:
            change = moved(places[one.document.id] - at)
            rows.append([str(at), f"{one.score or 0.0:.3f}", change, words + source])
        else:
            rows.append([str(at), words + source])
    heads = ["", "score", "moved", "document"] if places else ["", "document"]
    body = frame.table(heads, rows, (0, 1) if places else (0,), heading) if rows else (
        '<p class="rk-ours">Nothing was found.</p>'
    )
    return f"<div><h3>{frame.escape(heading)}</h3>{body}</div>"
