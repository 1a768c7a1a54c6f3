"""Many queries in the Rank panel: the fields, how far it is, the best documents of each query."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from rerank_kit.client import Ranking
from rerank_kit.client.ranking import clip
from rerank_kit.client.scores import probability
from rerank_kit.panels.logic.batch import RankedBatch
from rerank_kit.panels.views import frame

#: The page shows so much; the files hold everything.
SHOWN_QUERIES, SHOWN_DOCUMENTS = 30, 3
SHOWN_COLUMNS = 200
TOY = (
    '<p class="rk-soft">Scored by the practice model, a toy: real scores, no real judgement.</p>'
)


class BatchFields:
    """Whether there are many queries, and which; writes into model.many, queries, queries_file."""

    def __init__(self, panel: frame.Panel, model: Any) -> None:
        self._model = model
        self.many = frame.check("Many queries against the same documents")
        self.queries = frame.field(widgets.Textarea(
            value=model.queries, rows=5, description="Queries, one a line"))  # fmt: skip
        self.upload = widgets.FileUpload(
            accept=".txt,.md,.jsonl,text/plain", multiple=False,
            description="Take a file of queries instead",
            tooltip="a UTF-8 text file, one query a line",
        )
        self.forget = panel.button("Back to the box of queries", lambda: self._take(()))
        self.file_line = frame.text()
        panel.bind(self.many, "many")
        panel.bind(self.queries, "queries")
        panel.on_change(self.upload, self._take)
        self.stop = panel.button("Stop", lambda: model.stop())
        self.result = frame.text()
        self.files = frame.row(self.upload, self.forget)

    def show(self, model: Any) -> None:
        many = model.many
        self.queries.layout.display = None if many and not model.queries_file else "none"
        self.files.layout.display = self.result.layout.display = None if many else "none"
        self.forget.layout.display = None if model.queries_file else "none"
        self.file_line.value = file_words(model.queries_file) if many else ""
        self.stop.layout.display = None if many else "none"
        self.stop.disabled = not model.busy
        if model.busy and model.wanted:
            words = f"{model.done:,} of {model.wanted:,} queries are ranked"
            self.result.value = frame.status_line(words) + frame.progress_bar(
                100 * model.done / model.wanted, "queries that are ranked"
            )
        else:
            self.result.value = batch_html(model.batch) if model.batch else ""

    def _take(self, value: tuple[dict[str, Any], ...]) -> None:
        self._model.queries_file = (
            (value[0]["name"], bytes(value[0]["content"])) if value else None
        )
        self._model.problem = None
        if not value:
            frame.set_quietly(self.upload, value=())


def file_words(file: tuple[str, bytes] | None) -> str:
    """The name and size of a chosen file."""
    if file is None:
        return ""
    return (
        f'<p class="rk-ours">File: <b class="rk-theirs">{frame.escape(file[0])}</b>'
        f", {len(file[1]):,} bytes</p>"
    )


def batch_html(batch: RankedBatch) -> str:
    """For each query its best documents; below them the files with everything."""
    shown = batch.rankings[:SHOWN_QUERIES]
    more = len(batch.rankings) - len(shown)
    rest = f'<p class="rk-soft">{more:,} more queries are in the files.</p>' if more else ""
    links = (
        frame.download("Save all as CSV", "rankings.csv", batch.as_csv(), "text/csv")
        + frame.download("Save all as JSON", "rankings.json", batch.as_json(), "application/json")
    )  # fmt: skip
    toy = TOY if shown and shown[0].model == "practice" else ""
    return (
        f'<p class="rk-soft">{frame.escape(batch.summary())}</p>'
        f'<p class="rk-links">{links}</p>{frame.notes(batch.notes())}{toy}'
        + "".join(_query_html(one) for one in shown) + rest
    )  # fmt: skip


def _query_html(ranking: Ranking) -> str:
    rows = [
        [str(one.rank), f"{one.score:.3f}",
         frame.bar(probability(one.score) if ranking.raw_scores else one.score),
         frame.escape(clip(one.text, SHOWN_COLUMNS))]
        for one in ranking[:SHOWN_DOCUMENTS]
    ]  # fmt: skip
    heads = ["rank", "score", "", "document"]
    made = frame.table(heads, rows, (0, 1), "ranking of a query") if rows else (
        '<p class="rk-soft">No document reaches the lowest score you asked for.</p>'
    )
    return f'<h3 class="rk-theirs">{frame.escape(ranking.query)}</h3>{made}'
