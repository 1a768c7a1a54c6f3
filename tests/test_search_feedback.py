"""Ratings by people and click logs: the same question, asked in two other ways."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from processes import cli

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


def write_ratings(path: Path, queries: int = 30) -> Path:
    rows = ["query,way,rating"]
    for n in range(queries):
        text = f"退款 {n} | when" if n % 2 else f"refund {n}"
        rows += [f"{text},old,{2 + n % 2}", f"{text},new,{3 + n % 3}"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_ratings_command_gives_the_verdict_and_the_page(tmp_path: Path) -> None:
    ratings, page = write_ratings(tmp_path / "ratings.csv"), tmp_path / "out" / "ratings.html"
    shown = cli("evaluate", "--ratings", str(ratings), "--report", str(page))
    assert shown.returncode == 0, shown.stderr
    assert "verdict: better: mean rating 2.500 -> 4.000" in shown.stdout
    web, plain = page.read_text("utf-8"), page.with_suffix(".md").read_text("utf-8")
    assert "<svg" in web and "退款" in web and "Better: mean rating" in web
    assert "| 2.00 | 5.00 | refund 2 |" in plain and "退款 1 \\| when" in plain
    data = json.loads(cli("evaluate", "--ratings", str(ratings), "--json").stdout)
    assert data["verdict"] == "better" and len(data["queries"]) == 30
    few = write_ratings(tmp_path / "few.csv", 5)
    data = json.loads(cli("evaluate", "--ratings", str(few), "--json").stdout)
    assert data["verdict"] == "too few queries"
    turned = ("--before", "new", "--after", "old", "--json")
    data = json.loads(cli("evaluate", "--ratings", str(ratings), *turned).stdout)
    assert data["verdict"] == "worse" and data["before"] == "new"


def test_clicks_command_gives_the_verdict_and_the_page(tmp_path: Path) -> None:
    chance, rows = random.Random(4), ["way,results,clicks"]
    for way, first in (("bm25", 0.3), ("bm25 + rerank", 0.6)):
        for _ in range(200):
            rank = 1 if chance.random() < first else chance.randint(2, 9)
            rows.append(f"{way},10,{rank}")
    log, page = tmp_path / "clicks.csv", tmp_path / "clicks.html"
    log.write_text("\n".join(rows) + "\n", encoding="utf-8")
    shown = cli("evaluate", "--clicks", str(log), "--report", str(page))
    assert shown.returncode == 0, shown.stderr
    assert "first result clicked first" in shown.stdout and "better" in shown.stdout
    assert "Better: first result clicked first" in page.read_text("utf-8")
    assert "| first result clicked first |" in page.with_suffix(".md").read_text("utf-8")
    data = json.loads(cli("evaluate", "--clicks", str(log), "--json").stdout)
    assert data["verdict"] == "better" and len(data["clicks"]) == 4


def test_feedback_commands_ask_for_what_is_missing(tmp_path: Path) -> None:
    ratings = write_ratings(tmp_path / "ratings.csv", 3)
    with ratings.open("a", encoding="utf-8") as file:
        file.write("refund 0,third,3\n")
    for words, says in (
        (("--ratings", str(ratings)), "Which two ways"),
        (("--ratings", str(ratings), "--before", "old"), "Which two ways"),
        (("--ratings", str(ratings), "--clicks", str(ratings)), "one at a time"),
        (("--clicks", str(ratings)), "columns"),
        (("--ratings", str(tmp_path / "none.csv")), "does not exist"),
    ):  # fmt: skip
        done = cli("evaluate", *words)
        assert done.returncode == 2 and says in done.stderr, (words, done.stderr)


def test_the_published_table_is_quoted_with_its_source() -> None:
    shown = cli("evaluate", "--published")
    assert shown.returncode == 0 and "nothing here was measured by rerank_kit" in shown.stdout
    data = json.loads(cli("evaluate", "--published", "--json").stdout)
    assert data["source"].startswith("https://github.com/QwenLM/Qwen3-Embedding")
    assert data["scores"]["Qwen3-Reranker-0.6B"]["MTEB-R"] == 65.80
