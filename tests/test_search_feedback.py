"""Ratings by people and click logs: the same question, asked in two other ways."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rerank_kit.errors import FileInputError, InputError
from rerank_kit.search.feedback import (
    Rating,
    Searched,
    clicks_text,
    compare_clicks,
    compare_ratings,
    read_clicks,
    read_ratings,
)


def test_ratings_of_several_people_are_averaged_by_query() -> None:
    ratings = []
    for n in range(30):
        ratings += [Rating(f"q{n}", "old", 2), Rating(f"q{n}", "new", 3 + n % 2)]
        ratings += [Rating(f"q{n}", "old", 4)] * (n % 3)
    found = compare_ratings(ratings, "old", "new")
    assert found.queries == 30 and found.after == pytest.approx(3.5)
    assert found.before < 3.5 and found.verdict == "better"
    with pytest.raises(InputError, match="1 to 5"):
        compare_ratings([Rating("q", "old", 7)], "old", "new")
    with pytest.raises(InputError, match="both"):
        compare_ratings([Rating("q", "old", 3)], "old", "new")


def test_a_click_log_tells_a_better_order_from_chance() -> None:
    chance = random.Random(2)

    def searches(way: str, first: float, count: int = 400) -> list[Searched]:
        rows = []
        for _ in range(count):
            if chance.random() < 0.05:
                rows.append(Searched(way, 0))
            elif chance.random() < 0.2:
                rows.append(Searched(way, 10))
            else:
                rank = 1 if chance.random() < first else chance.randint(2, 9)
                rows.append(Searched(way, 10, (rank,)))
        return rows

    log = searches("old", 0.4) + searches("new", 0.6)
    found = {one.name: one for one in compare_clicks(log, "old", "new")}
    assert found["first result clicked first"].verdict == "better"
    assert found["rank of the first click"].verdict == "better", "lower is better there"
    assert found["nothing found"].verdict == "no difference shown"
    assert "better" in clicks_text(list(found.values()), "old", "new")
    few = compare_clicks(log[:10] + log[400:410], "old", "new")
    assert {one.verdict for one in few} == {"too few searches"}
    with pytest.raises(InputError, match="no search"):
        compare_clicks(log, "old", "newest")


def test_files_of_ratings_and_clicks(tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("query,way,rating\n退款,old,2\n退款,new,5\n", encoding="utf-8")
    assert read_ratings(str(ratings))[1] == Rating("退款", "new", 5.0)
    clicks = tmp_path / "clicks.csv"
    clicks.write_text("way,results,clicks\nold,10,3 1\nnew,0,\n", encoding="utf-8")
    assert read_clicks(str(clicks)) == [Searched("old", 10, (3, 1)), Searched("new", 0)]
    clicks.write_text("way,results,clicks\nold,10,third\n", encoding="utf-8")
    with pytest.raises(FileInputError, match="no ranks"):
        read_clicks(str(clicks))
    with pytest.raises(FileInputError, match="columns"):
        read_clicks(str(ratings))
