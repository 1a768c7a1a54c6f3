"""The fields that say which texts are searched."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from rerank_kit.panels.logic.texts import OWN_FOLDER, SOURCES
from rerank_kit.panels.views import frame

_WORDS = {OWN_FOLDER: "my own folder on this machine"}


class TextsField:
    """A picker of a sample corpus or a folder; writes into model.source and model.folder."""

    def __init__(self, panel: frame.Panel, model: Any) -> None:
        self.source = frame.field(widgets.Dropdown(
            options=[(_WORDS.get(name, f"sample corpus: {name}"), name) for name in SOURCES],
            value=model.source, description="Texts"), "medium")  # fmt: skip
        self.folder = frame.field(widgets.Text(
            value=model.folder, description="Folder", placeholder="/home/me/texts"))  # fmt: skip
        panel.bind(self.source, "source")
        panel.bind(self.folder, "folder")
        self.box = frame.row(self.source, self.folder)

    def show(self, model: Any) -> None:
        own = model.source == OWN_FOLDER
        self.folder.layout.display = None if own else "none"
