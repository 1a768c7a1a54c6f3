"""The bar of a launch, in a notebook and in a terminal."""

from __future__ import annotations

from tqdm import tqdm as in_a_terminal
from tqdm.notebook import tqdm as in_a_notebook

from rerank_kit.server.progress import bar_format


def test_a_notebook_shows_one_bar_and_its_saved_text_is_no_bar_at_zero() -> None:
    bar = in_a_notebook(
        total=100, desc="practice server: starting", bar_format=bar_format(True), display=False
    )
    assert repr(bar.container) == "practice server: starting"  # what a saved notebook shows
    bar.n = 40
    bar.set_description_str("practice server: loading, 3 s")
    before, drawn, after = (child.value for child in bar.container.children)
    assert (before, drawn) == ("", 40)
    assert after.replace("\u2007", " ") == "practice server: loading, 3 s"


def test_a_terminal_draws_its_bar_with_letters() -> None:
    shown = in_a_terminal.format_meter(
        40, 100, 3.0, prefix="practice server: loading, 3 s", bar_format=bar_format(False)
    )
    assert shown == " 40% |████████            | practice server: loading, 3 s"
