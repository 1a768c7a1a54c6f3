"""The panels: what the notebooks show in code, with buttons. The one place with ipywidgets.

    from rerank_kit import panels
    panels.rank(reranker)

logic/ knows and does (plain Python, tested without a browser); views/ shows it (ipywidgets).
Nothing of it is loaded before the first panel is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rerank_kit.errors import SetupError

if TYPE_CHECKING:
    from rerank_kit.client import Reranker
    from rerank_kit.panels.views.frame import Panel

__all__ = ["app", "doctor", "judge", "launch", "memory", "money", "rank", "search",
           "tune"]  # fmt: skip


def rank(reranker: Reranker | None = None) -> Panel:
    """Rank your own texts: `reranker.rank(query, documents)` with buttons.

    reranker: None finds the server each time you press the button (RERANK_URL, else ours).
    """
    return _view("rank", "RankPanel")(reranker)


def launch(profile: str = "auto") -> Panel:
    """Start, watch, mend and stop a server: `launch(profile)` with buttons."""
    return _view("launch", "LaunchPanel")(profile)


def search(reranker: Reranker | None = None, folder: str = "") -> Panel:
    """Search a folder in two stages, recall and rerank side by side."""
    return _view("search", "SearchPanel")(reranker, folder)


def tune(profile: str = "auto") -> Panel:
    """Find the fastest settings that rank the same: `tune(Search(...))` with buttons."""
    return _view("tune", "TunePanel")(profile)


def memory(gpu: str = "") -> Panel:
    """Which model fits on which GPU: `memory.plan(model, device)` with sliders."""
    return _view("memory", "MemoryPanel")(gpu)


def doctor(url: str | None = None) -> Panel:
    """Does a server give the official scores, and is it safe: `examine(url)` with a button."""
    return _view("doctor", "DoctorPanel")(url)


def money() -> Panel:
    """What this hour costs, and the guard: `money.start_guard(Budget(...))` with buttons."""
    return _view("money", "MoneyPanel")()


def judge(reranker: Reranker | None = None, folder: str = "") -> Panel:
    """Judge results blind and get a verdict: `Judging` with buttons."""
    return _view("judge", "JudgePanel")(reranker, folder)


def app() -> Panel:
    """All panels as the tabs of one page (scripts/webapp.sh)."""
    return _view("app", "AppPanel")()


def _view(module: str, name: str) -> Any:
    try:
        return getattr(import_module(f"rerank_kit.panels.views.{module}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rerank_kit"):
            raise
        raise SetupError(
            "Panels need ipywidgets, which is not installed here.",
            evidence=str(error), hint='pip install "rerank-kit[notebooks]"',
        ) from None
