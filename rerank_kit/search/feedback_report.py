"""The verdict of ratings or clicks: as text, as one HTML page, as Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rerank_kit.client.ranking import clip
from rerank_kit.errors import InputError
from rerank_kit.memory.show import aligned
from rerank_kit.search.feedback import (
    ClickMeasure,
    clicks_text,
    compare_clicks,
    rated_queries,
    read_clicks,
    read_ratings,
)
from rerank_kit.search.measures import Difference, difference, p_text
from rerank_kit.search.report import interval_plot, page, table, verdict_line, write_both

#: Queries that are shown at each end, the largest gains and the largest losses.
MOST_QUERIES = 20
_RATINGS_READING = (
    "Each query counts once: the ratings that several people gave to it are averaged first. p says "
    "how often chance alone makes such a difference when both ways are equally good (paired "
    "randomisation test). It holds if the raters did not know which way they rated."
)
_CLICKS_READING = (
    "A click is no judgement: people click what stands high, whatever stands there. Two ways can "
    "only be compared when chance decided which of them a visitor saw, in the same days. p comes "
    "from a randomisation test over searches; searches of one visitor are not told apart."
)


@dataclass(frozen=True)
class Feedback:
    """What ratings, or clicks, say about two ways of searching. One of the two parts is there:
    difference and queries (ratings), or clicks."""

    source: str
    before: str
    after: str
    difference: Difference | None = None
    queries: tuple[tuple[str, float, float], ...] = ()
    clicks: tuple[ClickMeasure, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.after} against {self.before}: {'clicks' if self.clicks else 'ratings'}"

    def headline(self) -> str:
        """The verdict as one sentence. For clicks: what the first result says."""
        if self.difference:
            return self.difference.sentence("mean rating")
        first = self.clicks[0]
        return (
            f"{first.verdict}: {first.name} {first.before:.3f} -> {first.after:.3f} "
            f"(p {p_text(first.p_value)}, {first.searches[0]:,} and {first.searches[1]:,} searches)"
        )

    def changes(self, most: int = MOST_QUERIES) -> list[tuple[str, float, float]]:
        """The rated queries with the largest gains, then those with the largest losses."""
        moved = sorted(
            (row for row in self.queries if row[1] != row[2]), key=lambda row: row[1] - row[2]
        )
        return moved if len(moved) <= 2 * most else moved[:most] + moved[-most:]

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.before} (before) and {self.after} (after)"]
        if self.clicks:
            lines += ["", clicks_text(self.clicks, self.before, self.after)]
            lines += ["", "note: comparable only if chance decided which way a visitor saw"]
            return "\n".join(lines)
        lines += [f"verdict: {self.headline()}"]
        rows = [["before", "after", "query"]]
        rows += [[f"{old:.2f}", f"{new:.2f}", clip(q, 60)] for q, old, new in self.changes(5)]
        return "\n".join([*lines, "", *aligned(rows, numbers=(0, 1))])

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"source": self.source, "before": self.before, "after": self.after}
        if self.difference:
            found["ratings"] = self.difference.as_dict()
            found["verdict"] = self.difference.verdict
            found["queries"] = [
                {"query": query, "before": round(old, 3), "after": round(new, 3)}
                for query, old, new in self.queries
            ]
        else:
            found["clicks"] = [{**asdict(one), "verdict": one.verdict} for one in self.clicks]
            found["verdict"] = self.clicks[0].verdict
        return found


def of_ratings(path: str, before: str | None = None, after: str | None = None) -> Feedback:
    """A file of ratings (feedback.read_ratings). The names of the two ways may be left out when
    the file holds two only: the first one in it is then the old one."""
    ratings = read_ratings(path)
    old, new = _ways([one.way for one in ratings], before, after, path)
    rows = rated_queries(ratings, old, new)
    found = difference([row[1] for row in rows], [row[2] for row in rows])
    return Feedback(Path(path).name, old, new, found, tuple(rows))


def of_clicks(path: str, before: str | None = None, after: str | None = None) -> Feedback:
    """A click log (feedback.read_clicks); the names as for of_ratings."""
    log = read_clicks(path)
    old, new = _ways([one.way for one in log], before, after, path)
    return Feedback(Path(path).name, old, new, clicks=tuple(compare_clicks(log, old, new)))


def write(found: Feedback, path: Path) -> tuple[Path, Path]:
    """Write the page to path (.html) and Markdown beside it. Returns both paths."""
    return write_both(path, html_page(found), markdown(found))


def html_page(found: Feedback) -> str:
    """One page that needs nothing else."""
    body = [
        f"<h1>{html.escape(found.title)}</h1>",
        f'<p class="soft">from {html.escape(found.source)}</p>',
        verdict_line(found.headline()),
    ]
    if found.difference:
        body += ["<h2>How large is the difference?</h2>",
                 interval_plot({"rating": found.difference})]  # fmt: skip
    cells = [[html.escape(cell) for cell in row] for row in _rows(found)]
    body += [f"<h2>{_table_title(found)}</h2>",
             table(_head(found), cells, numbers=(1, 2, 3) if found.clicks else (0, 1)),
             "<h2>How to read this</h2>", f"<p>{html.escape(_reading(found))}</p>"]  # fmt: skip
    return page(found.title, body)


def markdown(found: Feedback) -> str:
    """The same as Markdown."""
    rows = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in _rows(found)]
    head = _head(found)
    return "\n".join([
        f"# {found.title}", "", f"from {found.source}", "", f"**{found.headline()}.**", "",
        f"## {_table_title(found)}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|",
        *(f"| {row} |" for row in rows), "", "## How to read this", "", _reading(found), "",
    ])  # fmt: skip


def _ways(
    names: Sequence[str], before: str | None, after: str | None, path: str
) -> tuple[str, str]:
    present = list(dict.fromkeys(names))
    if before and after:
        return before, after
    if before or after or len(present) != 2:
        raise InputError(
            f"Which two ways of {path} are compared?", evidence=f"it has {', '.join(present)}",
            hint="name both: --before OLD --after NEW",
        )
    return present[0], present[1]


def _rows(found: Feedback) -> list[list[str]]:
    if found.clicks:
        return [
            [one.name, f"{one.before:.3f}", f"{one.after:.3f}", p_text(one.p_value), one.verdict]
            for one in found.clicks
        ]
    return [[f"{old:.2f}", f"{new:.2f}", query] for query, old, new in found.changes()]


def _head(found: Feedback) -> list[str]:
    if found.clicks:
        return ["measure", found.before, found.after, "p", "verdict"]
    return [found.before, found.after, "query"]


def _table_title(found: Feedback) -> str:
    return "Measures" if found.clicks else "The queries that changed most"


def _reading(found: Feedback) -> str:
    return _CLICKS_READING if found.clicks else _RATINGS_READING
