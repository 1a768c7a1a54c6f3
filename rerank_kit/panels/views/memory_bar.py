"""A bar of predicted memory, and the same in words."""

from __future__ import annotations

from rerank_kit.panels.logic.memory_bar import MemoryBar
from rerank_kit.panels.views import frame

#: Okabe and Ito's colours: told apart also by people who see fewer of them.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
#: Hatched: not ours.
_OTHERS = "repeating-linear-gradient(45deg,#777 0 5px,#999 5px 10px)"


def memory_html(bar: MemoryBar) -> str:
    """The device is as wide as the bar; what does not fit widens it."""
    held = max(0.0, bar.usable_gib - bar.free_gib)
    whole = max(bar.usable_gib, bar.needed_gib + held)
    parts = [*zip(bar.parts, _COLOURS, strict=False)]
    if held > 0.05:
        parts.insert(0, (("in use by others", held), _OTHERS))
    pieces = "".join(
        f'<span style="width:{100 * gib / whole:.2f}%;background:{colour}"></span>'
        for (_, gib), colour in parts
    )
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{frame.escape(name)} {_size(gib)}</span>'
        for (name, gib), colour in parts
    )
    warning = f'<div class="rk-card warn" role="status">{frame.escape(bar.warning)}</div>' if (
        bar.warning
    ) else ""  # fmt: skip
    return (
        f"<h3>Predicted memory on {frame.escape(bar.device)}: {frame.escape(bar.verdict)}</h3>"
        f'<div class="rk-memory" aria-hidden="true">{pieces}</div>'
        f'<div class="rk-legend">{legend}<span class="rk-soft">of {bar.usable_gib:.1f} GiB'
        f"</span></div>{warning}"
    )


def _size(gib: float) -> str:
    return f"{gib:.2f} GiB" if gib >= 0.1 else f"{1024 * gib:.0f} MiB"
