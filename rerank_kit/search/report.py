"""A comparison as a page that can be sent to somebody: one HTML file that needs nothing else, and
the same as Markdown. Plots are SVG in the page's own colours, so they follow light and dark."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from rerank_kit.errors import cannot_write
from rerank_kit.search.evaluate import MAIN_MEASURE, Change, Comparison, quantile
from rerank_kit.search.measures import Difference, p_text

#: Rows of changed queries on the page; the rest is in `rerank-kit evaluate --json`.
MOST_CHANGES = 40
#: Colours that keep a contrast of at least 4.5:1 to both backgrounds; fonts with Chinese.
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #57606a;
  --line: #d0d7de; --before: #6e7781; --after: #0a62c4; --good: #116329; --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9da7b3;
  --line: #30363d; --before: #8b949e; --after: #6cb6ff; --good: #57d364; --bad: #ff8f87; } }
body { background: var(--paper); color: var(--ink); max-width: 54rem; margin: 2rem auto;
  padding: 0 1rem; line-height: 1.5; font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans",
  "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.verdict { font-size: 1.1rem; border-left: 4px solid var(--after); padding-left: .8rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid var(--line);
  vertical-align: top; } th { color: var(--soft); font-weight: 600; }
td.n, th.n { text-align: right; white-space: nowrap; width: 1%; padding-left: 1rem; }
@media (max-width: 60rem) { th.n { white-space: normal; } }
td:first-child { white-space: nowrap; } td:last-child { min-width: 5.5rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .soft { color: var(--soft); }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 13px; }
svg .soft { fill: var(--soft); } svg .axis { stroke: var(--line); }
"""


def write(comparison: Comparison, path: Path) -> tuple[Path, Path]:
    """Write the page to path (.html) and Markdown beside it. Returns both paths."""
    return write_both(path, html_page(comparison), markdown(comparison))


def write_both(path: Path, page: str, plain: str) -> tuple[Path, Path]:
    """A report as a page (.html) and, beside it, as Markdown. Raises FileInputError."""
    web, beside = path.with_suffix(".html"), path.with_suffix(".md")
    try:
        web.parent.mkdir(parents=True, exist_ok=True)
        web.write_text(page, encoding="utf-8")
        beside.write_text(plain, encoding="utf-8")
    except OSError as error:
        raise cannot_write(web, error) from None
    return web, beside


def html_page(comparison: Comparison) -> str:
    """The whole page as text."""
    title = f"{comparison.after.name} against {comparison.before.name}"
    body = [
        f"<h1>{_e(title)}</h1>",
        f'<p class="soft">{_e(_facts(comparison))}</p>',
        verdict_line(comparison.main.sentence(MAIN_MEASURE)),
        "<h2>Measures</h2>", _measure_table(comparison),
        "<h2>How large is the difference?</h2>", interval_plot(comparison.differences),
    ]  # fmt: skip
    if comparison.groups:
        body += [f"<h2>{MAIN_MEASURE} by kind of query</h2>", bar_plot(comparison.groups)]
    body += ["<h2>Time per query</h2>", _time_table(comparison)]
    body += ["<h2>The queries that changed</h2>", _change_table(comparison)]
    body += ["<h2>How to read this</h2>", *(f"<p>{_e(line)}</p>" for line in _reading(comparison))]
    return page(title, body)


def verdict_line(sentence: str) -> str:
    """The verdict as it stands at the top of every page."""
    return f'<p class="verdict">{_e(_capital(sentence).replace(" -> ", " → "))}.</p>'


def page(title: str, body: Sequence[str]) -> str:
    """A complete HTML document in the style of all our pages."""
    return "\n".join([
        '<!doctype html>', '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_e(title)}</title><style>{STYLE}</style></head><body>", *body, "</body></html>",
        "",
    ])  # fmt: skip


def markdown(comparison: Comparison) -> str:
    """The same facts as Markdown."""
    lines = [
        f"# {comparison.after.name} against {comparison.before.name}", "", _facts(comparison), "",
        f"**{_capital(comparison.main.sentence(MAIN_MEASURE))}.**", "",
        f"| measure | {comparison.before.name} | {comparison.after.name} | change "
        "| 95 % interval | p | |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, one in comparison.differences.items():
        lines.append(
            f"| {name} | {one.before:.3f} | {one.after:.3f} | {one.mean:+.3f} "
            f"| {one.low:+.3f} to {one.high:+.3f} | {p_text(one.p_value)} | {one.verdict} |"
        )
    if comparison.groups:
        lines += ["", f"## {MAIN_MEASURE} by kind of query", ""]
        lines += ["| group | queries | before | after | change | |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {name} | {one.queries} | {one.before:.3f} | {one.after:.3f} | {one.mean:+.3f} "
            f"| {one.verdict} |"
            for name, one in comparison.groups.items()
        ]
    lines += ["", "## The queries that changed", ""]
    lines += [f"| {MAIN_MEASURE} | first answer | query |", "|---|---|---|"]
    lines += [
        f"| {one.before:.2f} → {one.after:.2f} | {_ranks(one)} | {_cell(one.query.text)} |"
        for one in _shown(comparison.changes)
    ]
    return "\n".join([*lines, "", "## How to read this", "", *_reading(comparison), ""])


def bar_plot(groups: dict[str, Difference]) -> str:
    """Two bars a group, before and after, from 0 to 1, with their values beside them."""
    top, row, left, width = 26, 40, 190, 440
    parts = [
        f'<text x="{left}" y="14" class="soft">before (grey), after (blue)</text>',
        _line(left, 20, left, top + row * len(groups)),
    ]
    for at, (name, one) in enumerate(groups.items()):
        y = top + at * row
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{_e(name)}</text>')
        parts.append(
            f'<text x="{left - 8}" y="{y + 29}" text-anchor="end" class="soft">'
            f"{_e(_group_note(one))}</text>"
        )
        for shift, value, colour in ((2, one.before, "before"), (18, one.after, "after")):
            long = max(1.0, value * width)
            parts.append(
                f'<rect x="{left}" y="{y + shift}" width="{long:.1f}" height="13" '
                f'style="fill:var(--{colour})"/>'
                f'<text x="{left + long + 6:.1f}" y="{y + shift + 11}">{value:.2f}</text>'
            )
    return _svg(700, top + row * len(groups) + 6, f"{MAIN_MEASURE} by kind of query", parts)


def interval_plot(differences: dict[str, Difference]) -> str:
    """The change of each measure as a point with its 95 % interval; the line in the middle is
    no change."""
    top, row, left, width = 22, 28, 110, 520
    reach = max([0.05, *(abs(v) for one in differences.values() for v in (one.low, one.high))])
    middle = left + width / 2

    def x(value: float) -> float:
        return middle + value / reach * width / 2

    bottom = top + row * len(differences)
    parts = [
        _line(middle, 16, middle, bottom),
        f'<text x="{left}" y="12" class="soft">-{reach:.2f}</text>',
        f'<text x="{middle}" y="12" text-anchor="middle" class="soft">no change</text>',
        f'<text x="{left + width}" y="12" text-anchor="end" class="soft">+{reach:.2f}</text>',
    ]
    for at, (name, one) in enumerate(differences.items()):
        y = top + at * row + 12
        clear = one.verdict in ("better", "worse")
        colour = {"better": "good", "worse": "bad"}.get(one.verdict, "before")
        parts.append(f'<text x="{left - 8}" y="{y + 5}" text-anchor="end">{_e(name)}</text>')
        parts.append(
            f'<line x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" y1="{y}" y2="{y}" '
            f'stroke-width="{3 if clear else 2}" style="stroke:var(--{colour})"/>'
            f'<circle cx="{x(one.mean):.1f}" cy="{y}" r="5" style="fill:var(--{colour})"/>'
        )
    return _svg(700, bottom + 8, "change of each measure with its 95 % interval", parts)


def _group_note(one: Difference) -> str:
    count = "1 query" if one.queries == 1 else f"{one.queries} queries"
    return f"{count}: too few" if one.verdict == "too few queries" else f"{count}, {one.verdict}"


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{_e(title)}">'
        + "".join(parts) + "</svg>"
    )  # fmt: skip


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="axis" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _facts(comparison: Comparison) -> str:
    labelled = comparison.labelled
    return (
        f"{labelled.name}: {len(labelled.documents):,} documents, {len(labelled.queries):,} "
        f"labelled queries; depth {comparison.depth}; model {comparison.model or 'none'}"
    )


def _measure_table(comparison: Comparison) -> str:
    head = ["measure", comparison.before.name, comparison.after.name, "change", "95 % interval",
            "p", ""]  # fmt: skip
    rows = [
        [name, f"{one.before:.3f}", f"{one.after:.3f}", f"{one.mean:+.3f}",
         f"{one.low:+.3f} to {one.high:+.3f}", p_text(one.p_value), _verdict(one.verdict)]
        for name, one in comparison.differences.items()
    ]  # fmt: skip
    return table(head, rows, numbers=range(1, 6))


def _time_table(comparison: Comparison) -> str:
    rows = []
    for name, values in (
        ("recall", comparison.after.recall_ms), ("rerank", comparison.after.rerank_ms)
    ):  # fmt: skip
        rows.append([name, f"{quantile(values, 0.5):.1f} ms", f"{quantile(values):.1f} ms"])
    return table(["stage", "median", "95 % of queries below"], rows, numbers=(1, 2))


def _change_table(comparison: Comparison) -> str:
    changes = comparison.changes
    shown = _shown(changes)
    rows = [
        [f"{one.before:.2f} → {one.after:.2f}", _e(_ranks(one)), _e(one.query.text),
         _verdict("better" if one.after > one.before else "worse")]
        for one in shown
    ]  # fmt: skip
    more = len(changes) - len(shown)
    note = f'<p class="soft">{more} more changed less.</p>' if more else ""
    return table([MAIN_MEASURE, "first answer", "query", ""], rows, numbers=(0,)) + note


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """An HTML table. Cells are HTML already; the head is text."""

    def cell(tag: str, at: int, value: str) -> str:
        return f"<{tag}{' class=n' if at in numbers else ''}>{value}</{tag}>"

    top = "".join(cell("th", at, _e(value)) for at, value in enumerate(head))
    body = "".join(
        f"<tr>{''.join(cell('td', at, value) for at, value in enumerate(row))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _shown(changes: Sequence[Change]) -> list[Change]:
    """The largest gains and the largest losses, in order."""
    if len(changes) <= MOST_CHANGES:
        return list(changes)
    half = MOST_CHANGES // 2
    return [*changes[:half], *changes[-half:]]


def _ranks(change: Change) -> str:
    return f"{change.rank_before or 'not found'} → {change.rank_after or 'not found'}"


def _verdict(text: str) -> str:
    kind = {"better": "good", "worse": "bad"}.get(text, "soft")
    return f'<span class="{kind}">{_e(text)}</span>'


def _reading(comparison: Comparison) -> list[str]:
    lines = [
        f"{MAIN_MEASURE} looks at the first ten results: 1 means the best possible order, 0 means "
        "nothing useful there. hit@1: is the first result an answer? MRR@10: one divided by the "
        "rank of the first answer. recall: which part of all answers was found.",
        "p says how often chance alone makes such a difference when the two ways are equally good "
        "(paired randomisation test). The interval comes from a bootstrap over the queries. Both "
        "speak about queries like these, not about others.",
    ]
    if comparison.model == "practice":
        lines.append(
            "The model is the practice model of rerank_kit, a toy that fits into a package. These "
            "numbers say nothing about the quality of Qwen3-Reranker."
        )
    return [*lines, *(f"Note: {note}." for note in comparison.labelled.notes)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _e(text: str) -> str:
    return html.escape(text)
