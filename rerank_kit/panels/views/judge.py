"""Judge: one result at a time, five buttons, and the verdict at the end."""

from __future__ import annotations

import functools

import ipywidgets as widgets

from rerank_kit.client import Reranker
from rerank_kit.panels.logic.judging import GRADE_WORDS, JudgeModel
from rerank_kit.panels.views import frame, language
from rerank_kit.panels.views.texts import TextsField
from rerank_kit.search.verdict import Verdict

SHOWN_CHARACTERS = 1500


class JudgePanel(frame.Panel):
    title = "Judge"
    purpose = "Is reranking better on your texts? Grade results without knowing who found them."
    code = "judging = Judging.prepare(search, queries); judging.grade(item, 4)"
    model: JudgeModel

    def __init__(self, reranker: Reranker | None = None, folder: str = "") -> None:
        super().__init__(JudgeModel(reranker, folder))

    def build(self) -> list[widgets.Widget]:
        model = self.model
        self.texts = TextsField(self, model)
        self.count = frame.field(widgets.BoundedIntText(
            value=model.count, min=1, max=200, description="How many queries"),
            "narrow")  # fmt: skip
        self.propose = self.button("Propose queries", lambda: model.propose())
        self.queries = frame.field(widgets.Textarea(
            rows=6, description="Queries, one a line: what people really ask"))  # fmt: skip
        self.who = frame.field(widgets.Text(
            description="Who judges (keeps several people's grades apart)"), "medium")  # fmt: skip
        self.bind(self.who, "who")
        self.about = frame.text()
        self.prepare = self.button(
            "Start judging", lambda: model.begin_judging(), main=True)  # fmt: skip
        self.item = frame.text()
        self.grades = [
            self.button(f"{grade} {word}", functools.partial(model.grade, grade))
            for grade, word in GRADE_WORDS.items()
        ]
        self.undo = self.button("Undo", model.undo)
        self.decide = self.button("Verdict now", model.decide)
        self.price = frame.field(widgets.BoundedFloatText(
            value=0.0, min=0.0, max=100_000.0, step=0.1,
            description="Price of a machine an hour"), "narrow")  # fmt: skip
        self.currency = frame.field(widgets.Text(
            description="Currency", placeholder="CNY"), "narrow")  # fmt: skip
        self.bind(self.price, "price_per_hour")
        self.bind(self.currency, "currency")
        self.grading = frame.row(*self.grades)
        self.after = frame.row(self.price, self.currency, self.undo, self.decide)
        self.verdict = frame.text()
        self.bind(self.count, "count")
        self.bind(self.queries, "queries")
        return [
            self.texts.box, frame.row(self.count, self.propose), self.queries, self.about,
            frame.row(self.who, self.prepare), self.item, self.grading, self.after, self.verdict,
        ]  # fmt: skip

    def show(self) -> None:
        model = self.model
        self.texts.show(model)
        busy = bool(model.busy)
        self.propose.disabled = self.prepare.disabled = busy
        frame.set_quietly(self.queries, value=model.queries)
        self.about.value = f'<p class="rk-soft">{frame.escape(model.proposed)}</p>'
        judging = model.session is not None
        self.grading.layout.display = None if judging and model.item else "none"
        self.after.layout.display = None if judging else "none"
        self.item.value = self._item_html()
        self.verdict.value = verdict_html(model.verdict, self.language) if model.verdict else ""

    def _item_html(self) -> str:
        session, item = self.model.session, self.model.item
        if session is None:
            return ""
        if item is None:
            return frame.status_line(f"All {session.total} results are judged.")
        title = f"<b>{frame.escape(item.title)}</b>\n" if item.title else ""
        more = " [...]" if len(item.text) > SHOWN_CHARACTERS else ""
        return (
            f'<p class="rk-ours" role="status" aria-live="polite">'
            f"Result {session.done + 1} of {session.total}.</p>"
            f"<h3>Does this answer “{frame.escape(item.query)}”?</h3>"
            f'<div class="rk-doc" tabindex="0">{title}'
            f"{frame.escape(item.text[:SHOWN_CHARACTERS])}{more}</div>"
        )


def verdict_html(made: Verdict, speaks: str = "en") -> str:
    """The answer, what it stands on, what to try next, and the page to take away."""
    look = {"yes": "good", "no": "bad"}.get(made.answer, "warn")
    steps = "".join(f"<li>{frame.escape(step)}</li>" for step in made.next_steps())
    rows = [[frame.escape(cell) for cell in row] for row in made.rows()]
    queries = [query for query, _, _ in made.examples]
    page = language.page_in(speaks, made.html_page(), theirs=queries)
    link = frame.download("Save the verdict as a page", "verdict.html", page, "text/html")
    return (
        f'<div class="rk-card {look}" role="status"><b>{frame.escape(made.headline())}.</b></div>'
        f"{frame.table(['', ''], rows, (), 'verdict')}"
        f"<h3>What to try next</h3><ol class='rk-ours'>{steps}</ol><p class='rk-links'>{link}</p>"
    )
