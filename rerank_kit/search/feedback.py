"""Two ways of ranking compared by people: blind ratings of 1 to 5, or a log of clicks."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rerank_kit.client.documents import read_text
from rerank_kit.errors import FileInputError, InputError
from rerank_kit.memory.show import aligned
from rerank_kit.search.measures import (
    FEWEST_QUERIES,
    RESAMPLES,
    SEED,
    SIGNIFICANCE,
    Difference,
    difference,
    p_text,
)
from rerank_kit.search.needs import need


@dataclass(frozen=True)
class Rating:
    """What one person gave to one way's results for one query: 1 useless to 5 exactly right."""

    query: str
    way: str
    rating: float


@dataclass(frozen=True)
class Searched:
    """One search in a log. clicks: the ranks that were clicked, in the order of the clicks."""

    way: str
    results: int
    clicks: tuple[int, ...] = ()


@dataclass(frozen=True)
class ClickMeasure:
    """One measure of a click log for both ways. better: is more of it better?"""

    name: str
    before: float
    after: float
    p_value: float
    searches: tuple[int, int]
    more_is_better: bool

    @property
    def verdict(self) -> str:
        if min(self.searches) < FEWEST_QUERIES:
            return "too few searches"
        if self.p_value >= SIGNIFICANCE:
            return "no difference shown"
        return "better" if (self.after > self.before) == self.more_is_better else "worse"


def rated_queries(
    ratings: Iterable[Rating], before: str, after: str
) -> list[tuple[str, float, float]]:
    """(query, mean rating before, after) of the queries that were rated for both ways."""
    by_query: dict[str, dict[str, list[float]]] = {}
    for one in ratings:
        if not 1 <= one.rating <= 5:
            raise InputError(f"a rating is 1 to 5, not {one.rating!r} (query {one.query!r}).")
        by_query.setdefault(one.query, {}).setdefault(one.way, []).append(one.rating)
    rows = [
        (query, statistics.fmean(ways[before]), statistics.fmean(ways[after]))
        for query, ways in by_query.items() if before in ways and after in ways
    ]  # fmt: skip
    if not rows:
        raise InputError(f"No query was rated both for {before!r} and for {after!r}.")
    return rows


def compare_ratings(ratings: Iterable[Rating], before: str, after: str) -> Difference:
    """Mean rating of two ways over the queries that were rated for both. Several people's ratings
    of the same query are averaged first: the query is what varies, not the person."""
    rows = rated_queries(ratings, before, after)
    return difference([old for _, old, _ in rows], [new for _, _, new in rows])


def compare_clicks(log: Iterable[Searched], before: str, after: str) -> list[ClickMeasure]:
    """First-click rate, depth of the first click and nothing-found rate of two ways.

    A click is not a judgement: people click what stands high, whatever stands there. So only
    logs in which chance decided which way a visitor saw can be compared.
    """
    rows = list(log)
    ways = [[one for one in rows if one.way == way] for way in (before, after)]
    for name, chosen in zip((before, after), ways, strict=True):
        if not chosen:
            raise InputError(f"The log has no search of {name!r}.")
    answered = [[one for one in chosen if one.results] for chosen in ways]
    clicked = [[one for one in chosen if one.clicks] for chosen in answered]
    return [
        _measure("first result clicked first", True,
                 [[float(one.clicks[:1] == (1,)) for one in way] for way in answered]),
        _measure("anything clicked", True,
                 [[float(bool(one.clicks)) for one in way] for way in answered]),
        _measure("rank of the first click", False,
                 [[float(one.clicks[0]) for one in way] for way in clicked]),
        _measure("nothing found", False, [[float(not one.results) for one in way] for way in ways]),
    ]  # fmt: skip


def clicks_text(measures: Sequence[ClickMeasure], before: str, after: str) -> str:
    """The measures as an aligned table."""
    rows = [["measure", before, after, "p", ""]]
    rows += [
        [one.name, f"{one.before:.3f}", f"{one.after:.3f}", p_text(one.p_value), one.verdict]
        for one in measures
    ]
    return "\n".join(aligned(rows, numbers=(1, 2, 3)))


def read_ratings(path: str) -> list[Rating]:
    """A CSV file with the columns query, way, rating."""
    return [Rating(row["query"], row["way"], _number(row, "rating", path))
            for row in _rows(path, ("query", "way", "rating"))]  # fmt: skip


def read_clicks(path: str) -> list[Searched]:
    """A CSV file with the columns way, results (how many were shown), clicks ("3 1": first the
    third, then the first; empty: none)."""
    found = []
    for row in _rows(path, ("way", "results", "clicks")):
        try:
            clicks = tuple(int(rank) for rank in (row["clicks"] or "").split())
        except ValueError:
            raise FileInputError(
                f"{path}: {row['clicks']!r} are no ranks.", hint='ranks parted by spaces: "3 1"'
            ) from None
        found.append(Searched(row["way"], int(_number(row, "results", path)), clicks))
    return found


def _measure(name: str, more_is_better: bool, values: list[list[float]]) -> ClickMeasure:
    first, second = values
    if not first or not second:
        return ClickMeasure(name, 0.0, 0.0, 1.0, (len(first), len(second)), more_is_better)
    p_value = 1.0
    if len(set(first + second)) > 1:
        numpy = need("numpy", "Comparing click logs")
        p_value = need("scipy.stats", "Comparing click logs").permutation_test(
            (first, second), lambda a, b, axis: b.mean(axis=axis) - a.mean(axis=axis),
            vectorized=True, n_resamples=RESAMPLES, rng=numpy.random.default_rng(SEED), batch=500,
        ).pvalue  # fmt: skip
    return ClickMeasure(
        name, statistics.fmean(first), statistics.fmean(second), float(p_value),
        (len(first), len(second)), more_is_better,
    )  # fmt: skip


def _rows(path: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    if not rows or any(name not in rows[0] for name in columns):
        raise FileInputError(
            f"{path} does not have the columns {', '.join(columns)}.",
            evidence=", ".join(rows[0]) if rows else "it has no rows",
        )
    return rows


def _number(row: dict[str, Any], name: str, path: str) -> float:
    try:
        return float(row[name])
    except (TypeError, ValueError):
        raise FileInputError(f"{path}: {name} {row[name]!r} is no number.") from None
