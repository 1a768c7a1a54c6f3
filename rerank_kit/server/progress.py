"""Show a start's progress: a bar in notebooks and terminals, nothing in pipes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from rerank_kit.server.startup import Progress, ProgressCallback


@contextlib.contextmanager
def shown(
    callback: ProgressCallback | None, title: str, with_bar: bool = True
) -> Iterator[ProgressCallback]:
    """The callback itself, or one that moves a bar (with_bar False: one that shows nothing)."""
    if callback is not None:
        yield callback
        return
    if not with_bar:
        yield lambda progress: None
        return
    from tqdm.auto import tqdm

    bar = tqdm(
        total=100,
        desc=f"{title}: starting",
        disable=not (_in_notebook() or sys.stderr.isatty()),
        bar_format=bar_format(_in_notebook()),
    )

    def report(progress: Progress) -> None:
        bar.n = round(progress.percent)
        bar.set_description_str(f"{title}: {_words(progress)}")

    with bar:
        yield report


def bar_format(in_notebook: bool) -> str:
    """A notebook draws the bar itself, as a widget: one of letters beside it would be a second,
    and all that is left, at 0 %, where a saved notebook is read without widgets."""
    return "{desc}" if in_notebook else "{percentage:3.0f}% |{bar:20}| {desc}"


def _in_notebook() -> bool:
    """True inside a Jupyter kernel (an imported ipykernel alone proves nothing)."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return hasattr(shell, "kernel")


def _words(progress: Progress) -> str:
    if progress.stage == "ready":
        return "ready"
    text = f"{progress.stage}, {progress.seconds_elapsed:.0f} s"
    if progress.seconds_left is not None:
        text += f", about {progress.seconds_left:.0f} s left"
    return text
