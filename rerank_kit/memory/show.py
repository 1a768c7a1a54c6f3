"""Plans as aligned text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from wcwidth import wcswidth

if TYPE_CHECKING:
    from rerank_kit.memory.memory_plan import MemoryPlan

def plan_text(made: MemoryPlan) -> str:
    """Headline, terms with their working, settings with their reasons, notes."""
    lines = [_headline(made), "", *_term_lines(made), "", *aligned(
        [[one.flag, one.value, one.why] for one in made.settings]
    )]  # fmt: skip
    return "\n".join([*lines, *(["", *made.notes] if made.notes else [])])


def _headline(made: MemoryPlan) -> str:
    device = made.device
    form = f" in {made.quantisation}" if made.quantisation else f" in {made.dtype}"
    free = f"{device.free_gib:.1f} of {device.usable_gib:.1f} GiB free"
    verdict = {
        "fits": f"fits, {made.room_gib:.1f} GiB stay free",
        "tight": f"tight, only {max(0.0, made.room_gib):.1f} GiB stay free",
        "does not fit": f"does not fit, {-made.room_gib:.1f} GiB are missing"
        if made.room_gib < 0 else "does not run here",
    }[made.verdict]  # fmt: skip
    return f"{made.model}{form} on {device.name} ({free}): {verdict}"


_LABELS = {
    "weights": "weights",
    "kv_cache": "KV cache",
    "activations": "activations",
    "context": "CUDA context",
    "libraries": "libraries",
    "graphs": "CUDA graphs",
    "runtime": "programs",
    "table_copy": "table copy",
    "compiler": "compiler",
    "neighbour": "other server",
}


def _term_lines(made: MemoryPlan) -> list[str]:
    compared = any(term.measured_gib is not None for term in made.terms)
    rows: list[list[str]] = [["part", "GiB", *(["measured", "error"] if compared else []), "how"]]
    for term in made.terms:
        row = [_LABELS.get(term.name, term.name), f"{term.gib:.2f}"]
        if compared:
            known = term.measured_gib
            row += ["-", "-"] if known is None else [f"{known:.2f}", f"{term.gib - known:+.2f}"]
        rows.append([*row, term.working])
    blank = ["", ""] if compared else []
    rows.append(["total", f"{made.total_gib:.2f}", *blank, "while serving"])
    if made.peak_gib > made.total_gib:
        rows.append(["peak", f"{made.peak_gib:.2f}", *blank, "while loading"])
    return aligned(rows, numbers=range(1, 4 if compared else 2))


def aligned(rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> list[str]:
    """Columns of equal width, also with Chinese text; `numbers` are aligned to the right."""
    right = set(numbers)
    widths = [max(wcswidth(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for at, cell in enumerate(row):
            space = " " * (widths[at] - wcswidth(cell))
            cells.append(space + cell if at in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def table(made: Sequence[MemoryPlan]) -> str:
    """Several plans, one a line: what fits on this device?"""
    rows = [["model", "form", "weights", "total", "longest pair", "verdict"]]
    for one in made:
        length = f"{one.max_model_len:,}" if one.verdict != "does not fit" else "-"
        rows.append(
            [one.model, one.quantisation or one.dtype, f"{one.term('weights').gib:.2f}",
             f"{one.peak_gib:.2f}", length, one.verdict]
        )  # fmt: skip
    lines = aligned(rows, numbers=(2, 3, 4))
    if any(one.quantisation in ("awq", "gptq") for one in made):
        lines.append("awq and gptq need a checkpoint that somebody quantised before")
    return "\n".join(lines)
