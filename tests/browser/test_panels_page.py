"""A real Chromium at the panels' web page: the whole story of somebody who does not code."""

from __future__ import annotations

import csv
import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rerank_kit.machine import free_port

playwright_api = pytest.importorskip("playwright.sync_api")
sys.path.insert(0, str(Path(__file__).parent))

import panels_page as here  # noqa: E402

pytestmark = [pytest.mark.browser, pytest.mark.full, pytest.mark.timeout(1500)]
PICTURES = here.REPOSITORY / "artefacts"
QUERY = "怎么申请退款"
TEXTS = "今天的天气很好\n退款在订单页面申请，三天内到账\n我们的仓库在杭州\n红烧肉要先焯水"
TABS = ["Rank", "Search", "Judge", "Launch", "Memory", "Tune", "Doctor", "Money"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = here.chromium_path()
    assert path, "no chromium: scripts/test.sh leaves browser tests out then"
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=here.CHROMIUM)
        yield browser
        browser.close()


def test_the_story_of_somebody_who_does_not_code(chromium: Any, tmp_path: Path) -> None:
    """Break a launch, read why, mend it with a button, rank own Chinese texts, look around in
    both themes, stop. Nothing is asked of an outside host, nothing stays running."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with here.webapp(port, tmp_path / "state", "--no-server") as app:
        assert any(url in line for line in here.wait_for_the_page(app))
        first = here.Visitor(chromium, url)
        first.wait_for("Server: none runs")
        _break_and_mend(first)
        first.picture(PICTURES / "panels-ready-light-1280.png")
        _rank(first, tmp_path)
        _look_around(chromium, url)
        _second_visitor(chromium, url)
        _tune(first)
        _stop(first)
        assert first.outside == []
        app.send_signal(signal.SIGINT)
        said, _ = app.communicate(timeout=300)
        assert app.returncode == 0 and "The page is closed." in said, said
    left = list((tmp_path / "state" / "servers").glob("*.json"))
    assert left == [], "a server is left"


def test_the_page_ends_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    """Its last words went into a closed pipe, raised, and the page was left running."""
    port = free_port()
    with here.webapp(port, tmp_path / "state", "--no-server") as app:
        here.wait_for_the_page(app)
        app.stdout.close()
        app.send_signal(signal.SIGINT)
        assert app.wait(180) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the page is left"


def _break_and_mend(visitor: here.Visitor) -> None:
    fail(visitor)
    visitor.picture(PICTURES / "panels-failure-light-1280.png")
    visitor.press("Apply this fix")
    visitor.wait_for("Changed: --kv-cache-memory-bytes")
    visitor.press("Start")
    visitor.wait_for("Ready: practice")


def fail(visitor: here.Visitor) -> None:
    """A start with too small a cache, until the panel says why it failed."""
    visitor.open("Launch")
    visitor.choose("Profile", "practice")
    visitor.fill("KV cache, MiB", "8")
    visitor.wait_for("the start will fail")
    visitor.press("Start")
    visitor.wait_for("kv_cache_too_small")


def _rank(visitor: here.Visitor, folder: Path) -> None:
    visitor.open("Rank")
    visitor.fill("Query: what are you looking for?", QUERY)
    visitor.fill("Documents: paste your texts", TEXTS)
    visitor.press("Rank")
    visitor.wait_for("4 documents")
    rows = visitor.page.locator("table[aria-label=ranking] tbody tr")
    assert rows.count() == 4 and "退款在订单页面申请" in rows.first.inner_text()
    visitor.picture(PICTURES / "panels-ranking-light-1280.png")
    for name in ("CSV", "JSON"):
        with visitor.page.expect_download() as waiting:
            visitor.page.get_by_text(f"Save as {name}").click()
        waiting.value.save_as(folder / f"ranking.{name.lower()}")
    with (folder / "ranking.csv").open(encoding="utf-8-sig") as file:
        saved = list(csv.DictReader(file))
    assert [row["rank"] for row in saved] == ["1", "2", "3", "4"]
    results = json.loads((folder / "ranking.json").read_text(encoding="utf-8"))["results"]
    assert results[0]["text"] == saved[0]["text"] == TEXTS.splitlines()[1]


def _look_around(browser: Any, url: str) -> None:
    """Every tab in dark at 800 px and in light at 1280: a picture, nothing sticks out, nobody is
    kept out."""
    for theme, width in (("dark", 800), ("light", 1280)):
        visitor = here.Visitor(browser, url, theme, width)
        visitor.wait_for("Server: ready")
        for tab in TABS:
            visitor.open(tab)
            use(visitor, tab)
            assert visitor.overflow() <= 0, f"{tab} is wider than {width} px"
            assert visitor.barriers() == "", f"{tab}, {theme}"
            visitor.picture(PICTURES / f"panels-{tab.lower()}-{theme}-{width}.png")
        shade = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
        dark = sum(int(part) for part in shade.split("(")[1].split(")")[0].split(",")[:3]) < 300
        assert dark == (theme == "dark"), shade
        assert visitor.outside == []
        visitor.page.context.close()


def use(visitor: here.Visitor, tab: str) -> None:
    """Do in a tab what it is there for."""
    if tab == "Rank":
        visitor.page.get_by_label("Show the very prompt").check()
        visitor.wait_for("<|im_start|>system")
        visitor.press("Rank")
        visitor.wait_for("5 documents")
    elif tab == "Search":
        visitor.press("Read the texts")
        visitor.wait_for("Sample questions")
        visitor.press("Search")
        visitor.wait_for("reranking 25 candidates")
    elif tab == "Judge":
        visitor.fill("How many queries", "2")
        visitor.press("Propose queries")
        visitor.wait_for("The questions that come with")
        visitor.press("Start judging")
        visitor.wait_for("Does this answer")
        # The second visitor goes on with the judging of the first: their texts are the same.
        number, _ = visitor.judged_item()
        visitor.press("4 good")
        visitor.wait_for(f"Result {number + 1} of")
    elif tab == "Doctor":
        visitor.press("Examine")
        visitor.wait_for("Nothing needs fixing.")
    elif tab == "Launch":
        visitor.wait_for("KV cache in use")
    elif tab == "Money":
        visitor.fill("Price an hour", "2")
        visitor.wait_for("since this machine is up")


def _second_visitor(browser: Any, url: str) -> None:
    """Another viewer shares the server and nothing else; the keyboard is enough."""
    visitor = here.Visitor(browser, url)
    visitor.wait_for("Server: ready, practice")
    query = visitor.page.get_by_label("Query: what are you looking for?")
    assert query.input_value() != QUERY
    visitor.page.locator(".rk-tabs button").first.focus()
    visitor.page.keyboard.press("Tab")
    visitor.page.keyboard.press("Enter")
    visitor.page.get_by_role("heading", name="Search", exact=True).wait_for()
    visitor.page.context.close()


def _tune(visitor: here.Visitor) -> None:
    """A search is started, seen to run, and stopped: its own server ends, the other one stays."""
    visitor.open("Tune")
    visitor.page.get_by_label("VLLM_CPU_OMP_THREADS_BIND").uncheck()
    visitor.fill("Values of --block-size to try", "32, 64")
    visitor.fill("Tokens of a pair (empty: as they are)", "128")
    visitor.wait_for("A server of ours is running")
    visitor.press("Start the search")
    visitor.wait_for("Start 1 of 20 at most: ")  # some stage of it: the first may be over
    visitor.picture(PICTURES / "panels-tuning-light-1280.png")
    visitor.press("Stop")
    visitor.wait_for("Stopped. What was measured is kept")
    visitor.wait_for("Server: ready, practice")


def _stop(visitor: here.Visitor) -> None:
    visitor.open("Launch")
    visitor.press("Stop")
    visitor.wait_for("Left running")
    visitor.press("Stop it for everybody")
    visitor.wait_for("No server is running.")
