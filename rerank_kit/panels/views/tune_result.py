"""What a search for settings does and has found, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_kit.panels.logic.tuning import TuneModel
from rerank_kit.panels.views import frame
from rerank_kit.tuning.result import Tuned
from rerank_kit.tuning.search import Step

#: What each verdict is called, and the look of its bar.
VERDICTS = {
    "start": ("begin", "plain"), "kept": ("stays", "good"), "slower": ("goes", "soft"),
    "refused": ("refused", "bad"), "failed": ("failed", "bad"), "skipped": ("not tried", "soft"),
    "client": ("client", "plain"),
}  # fmt: skip


def trying_html(model: TuneModel) -> str:
    """What is done at this moment, with a bar while a server starts."""
    search = model.search
    if not model.busy or search is None:
        return frame.status_line(model.said if not model.busy else f"{model.busy} ...")
    if model.busy.startswith("stopping"):
        return frame.status_line(f"{model.busy} ...")
    if not search.starts:
        return frame.status_line("Measuring what the hardware could do at best ...")
    words = f"Start {search.starts} of {search.most_starts} at most: "
    now = model.progress
    name = frame.escape(search.trying)
    if now is None:
        return f"{frame.status_line('Starting ...')}<p><code>{name}</code></p>"
    if now.stage == "ready":
        measured = frame.status_line(f"{words}the speed is measured")
        return f"{measured}<p><code>{name}</code></p>"
    left = "" if now.seconds_left is None else f", about {now.seconds_left:.0f} s left"
    words += f"{now.stage}, {now.percent:.0f} %{left}"
    return (
        f"{frame.status_line(words)}<p><code>{name}</code></p>"
        f"{frame.progress_bar(now.percent, 'start of the server')}"
    )


def steps_html(steps: Sequence[Step]) -> str:
    """A line for each setting: verdict, speed as a number and a bar, and why."""
    if not steps:
        return ""
    fastest = max((one.trial.pairs_per_second for one in steps if one.trial), default=0.0)
    rows = [_row(one, fastest) for one in steps]
    heads = ["", "pairs/s", "", "from cache", "of the limit", "memory", "setting, and why"]
    return "<h3>What was tried</h3>" + frame.table(heads, rows, (1, 3, 4, 5), "settings tried")


def _row(step: Step, fastest: float) -> list[str]:
    word, look = VERDICTS[step.verdict]
    trial = step.trial if step.trial and not step.trial.failed else None
    why = frame.escape(step.sentence)
    if trial is None:
        return [word, "-", "", "-", "-", "-", why]
    percent, gib = trial.percent_of_limit, trial.memory_gib
    share = trial.pairs_per_second / fastest if fastest else 0.0
    return [
        word, f"{trial.pairs_per_second:.1f}", frame.bar(share, look),
        f"{100 * trial.cached_share:.0f} %", "-" if percent is None else f"{percent:.0f} %",
        "-" if gib is None else f"{gib:.1f} GiB", why,
    ]  # fmt: skip


def result_html(model: TuneModel) -> str:
    """The best so far, or the end: how much faster, what to paste, what 1,000 queries cost."""
    if model.found is not None:
        return _end_html(model, model.found)
    best = model.best_so_far()
    if best is None or best.trial is None:
        return ""
    speed = f"{best.trial.pairs_per_second:.1f}"
    return (
        f'<div class="rk-card"><span class="rk-ours">Best so far: {speed} pairs/s</span> '
        f"<code>{frame.escape(best.setting)}</code></div>"
    )


def _end_html(model: TuneModel, found: Tuned) -> str:
    best, first = found.best, found.first
    said = (
        f"{best.pairs_per_second:.1f} pairs/s instead of {first.pairs_per_second:.1f}: "
        f"{found.gain:.1f} times vLLM's defaults, with {best.concurrency} requests at once "
        f"({found.starts} starts, {found.remembered} results from before)."
    )
    cost = model.cost()
    price = f"{cost} for 1,000 queries of {found.documents_per_request} documents." if cost else ""
    advice = f'<p class="rk-soft">{frame.escape(found.context)}</p>' if found.context else ""
    return (
        f'<div class="rk-card good" role="status"><b>{said}</b>'
        + (f"<br>{frame.escape(price)}" if price else "")
        + f"</div>{advice}<h3>Settings to paste</h3>"
        f"<pre>{frame.escape(found.launch_command)}</pre>"
    )
