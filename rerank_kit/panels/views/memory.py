"""Memory: which model fits on which GPU, and why."""

from __future__ import annotations

import ipywidgets as widgets

from rerank_kit.panels.logic.fitting import FORMS, MODELS, OTHER, FitModel
from rerank_kit.panels.views import frame
from rerank_kit.panels.views.memory_bar import memory_html

_LABELS = {
    "kv_cache": "KV cache", "context": "CUDA context", "graphs": "CUDA graphs",
    "runtime": "programs", "table_copy": "table copy", "neighbour": "other server",
}  # fmt: skip


class MemoryPanel(frame.Panel):
    title = "Memory"
    purpose = "Before you rent: what a model needs on a GPU, term by term."
    code = 'memory.plan("4B", memory.device_named("RTX 4090"), max_model_len=8192)'
    model: FitModel

    def __init__(self, gpu: str = "") -> None:
        super().__init__(FitModel(gpu))

    def build(self) -> list[widgets.Widget]:
        model = self.model
        self.gpu = frame.field(widgets.Dropdown(
            options=model.gpus(), value=model.gpu, description="GPU"), "medium")  # fmt: skip
        self.gib = frame.field(widgets.BoundedFloatText(
            value=model.other_gib, min=0.5, max=2000, description="GiB free"),
            "narrow")  # fmt: skip
        self.which = frame.field(widgets.Dropdown(
            options=list(MODELS), value=model.model, description="Model"), "narrow")  # fmt: skip
        self.form = frame.field(widgets.Dropdown(
            options=list(FORMS), value=model.form, description="Weights"), "medium")  # fmt: skip
        self.length = frame.Slider(
            "Longest query + document, tokens", 256, 40960, 256, model.length
        )
        self.beside = frame.check("An embedding model (0.6B) shares the card")
        self.bar = frame.text()
        self.terms = frame.text()
        self.everything = frame.text()
        for widget, name in (
            (self.gpu, "gpu"), (self.gib, "other_gib"), (self.which, "model"),
            (self.form, "form"), (self.length.number, "length"), (self.beside, "beside"),
        ):  # fmt: skip
            self.bind(widget, name)
        return [
            frame.row(self.gpu, self.gib, self.which, self.form), self.length.box, self.beside,
            self.bar, self.terms, self.everything,
        ]  # fmt: skip

    def show(self) -> None:
        model = self.model
        self.gib.layout.display = None if model.gpu == OTHER else "none"
        made = model.plan()
        self.bar.value = memory_html(model.bar())
        rows = [
            [_LABELS.get(term.name, term.name), f"{term.gib:.2f}", frame.escape(term.working)]
            for term in made.terms
        ]
        rows.append(["<b>total</b>", f"<b>{made.total_gib:.2f}</b>", "while serving"])
        flags = "".join(
            f"<div><code>{frame.escape(one.flag)} {frame.escape(one.value)}</code> "
            f"<span class='rk-ours'>{frame.escape(one.why)}</span></div>"
            for one in made.settings
        )
        notes = "".join(f'<p class="rk-ours">{frame.escape(note)}</p>' for note in made.notes)
        self.terms.value = (
            frame.table(["part", "GiB", "how"], rows, (1,), "memory term by term")
            + f"<h3>The settings that make it come true</h3>{flags}{notes}"
        )
        self.everything.value = self._everything()

    def _everything(self) -> str:
        model = self.model
        rows = [
            [frame.escape(one.model.split("/")[-1]), frame.escape(one.quantisation or one.dtype),
             f"{one.term('weights').gib:.2f}", f"{one.peak_gib:.2f}", frame.escape(one.verdict)]
            for one in model.everything()
        ]  # fmt: skip
        heads = ["model", "weights as", "weights, GiB", "all, GiB", "verdict"]
        cards = ", ".join(model.smallest_cards()) or "none of the known cards"
        return (
            f"<h3>Everything on {frame.escape(model.device().name)}</h3>"
            + frame.table(heads, rows, (2, 3), "all models on this device")
            + f"<h3>Where the {frame.escape(model.model)} fits with room</h3>"
            f'<p class="rk-ours">{frame.escape(cards)}</p>'
        )
