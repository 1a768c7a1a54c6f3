"""Doctor: one button, a list of findings."""

from __future__ import annotations

import ipywidgets as widgets

from rerank_kit.doctor import Finding
from rerank_kit.panels.logic.examining import DoctorModel
from rerank_kit.panels.views import frame

_LOOKS = {"ok": ("good", "ok"), "fix": ("bad", "fix"), "unknown": ("warn", "cannot be seen")}


class DoctorPanel(frame.Panel):
    title = "Doctor"
    purpose = "Does a server give the official scores, and who can reach it?"
    code = "examine(url)"
    model: DoctorModel

    def __init__(self, url: str | None = None) -> None:
        super().__init__(DoctorModel(url))

    def build(self) -> list[widgets.Widget]:
        self.url = frame.field(widgets.Text(
            value=self.model.url, description="Address (empty: the server that runs here)",
            placeholder="http://127.0.0.1:8000"))  # fmt: skip
        self.bind(self.url, "url")
        self.examine = self.button("Examine", lambda: self.model.examine(), main=True)
        frame.on_enter(self.url, lambda: self.do(self.model.examine))
        self.findings = frame.text()
        return [self.url, frame.row(self.examine), self.findings]

    def show(self) -> None:
        self.examine.disabled = bool(self.model.busy)
        found = self.model.examination
        if found is None:
            self.findings.value = ""
            return
        count = len(found.faults)
        answer = "Nothing needs fixing." if found.ok else f"{count} things need fixing."
        look = "good" if found.ok else "bad"
        self.findings.value = (
            f'<div class="rk-card {look}" role="status"><b>{answer}</b> '
            f"{frame.escape(found.url)}</div>" + "".join(map(_finding_html, found.findings))
        )


def _finding_html(one: Finding) -> str:
    look, word = _LOOKS[one.status]
    cost = f"<br>costs: {frame.escape(one.cost)}" if one.cost else ""
    fix = f"<br>→ {frame.escape(one.fix)}" if one.fix else ""
    return (
        f'<div class="rk-card {look}"><b>[{word}]</b> {frame.escape(one.detail)}{cost}{fix}</div>'
    )
