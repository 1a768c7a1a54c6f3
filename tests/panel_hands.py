"""What a person does with a panel, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def press(panel: Any, button: Any, seconds: float = 120.0) -> None:
    """Press a button, and wait for what it begins."""
    button.click()
    panel.model.join(seconds)


def below(widget: Any) -> Iterator[Any]:
    """A widget and everything in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from below(child)
