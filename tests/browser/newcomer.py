"""A new user with a stop-watch: a fresh clone, the web page, a ranking of one's own texts.

    python tests/browser/newcomer.py [--cold] [--judge]

--cold downloads every package again (about 1 GB); --judge goes on to a blind verdict. Run by a
person, not by the tests: it needs a network for the packages. Prints minutes since the start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import panels_page as here

from rerank_kit.machine import free_port

QUERY = "怎么申请退款"
TEXTS = "今天的天气很好\n退款在订单页面申请，三天内到账\n我们的仓库在杭州\n红烧肉要先焯水"
QUERIES_TO_JUDGE = 20


class StopWatch:
    """Prints what has been reached, and when."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def reached(self, what: str) -> None:
        minutes, seconds = divmod(time.monotonic() - self._began, 60)
        print(f"{int(minutes):>3} min {seconds:04.1f} s  {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cold", action="store_true", help="an empty package cache")
    parser.add_argument("--judge", action="store_true", help="go on to a blind verdict")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        _try(Path(folder), options)
    return 0


def _try(folder: Path, options: argparse.Namespace) -> None:
    if options.cold:
        os.environ["UV_CACHE_DIR"] = str(folder / "cache")
    watch, root, port = StopWatch(), folder / "rerank_kit", free_port()
    subprocess.run(["git", "clone", "--quiet", str(here.REPOSITORY), str(root)], check=True)
    watch.reached("cloned")
    url = f"http://127.0.0.1:{port}/"
    with here.webapp(port, folder / "state", root=root) as app, sync_playwright() as playwright:
        here.wait_for_the_page(app)
        watch.reached("`bash scripts/webapp.sh` has set everything up; the page answers")
        browser = playwright.chromium.launch(
            executable_path=here.chromium_path(), args=here.CHROMIUM
        )
        visitor = here.Visitor(browser, url)
        watch.reached("the page is open")
        visitor.wait_for("Server: ready")
        watch.reached("the server is ready")
        visitor.fill("Query: what are you looking for?", QUERY)
        visitor.fill("Documents: paste your texts", TEXTS)
        visitor.press("Rank")
        visitor.wait_for("4 documents")
        first = visitor.page.locator("table[aria-label=ranking] tbody tr").first.inner_text()
        watch.reached("own texts are ranked; first: " + " ".join(first.split()))
        if options.judge:
            _judge(visitor)
            watch.reached("a verdict after blind judging")
        assert visitor.outside == [], visitor.outside
        browser.close()
    watch.reached("everything is stopped")


def _judge(visitor: here.Visitor) -> None:
    """Grade every result as fast as the page allows: what a person adds is reading."""
    visitor.open("Judge")
    visitor.fill("How many queries", str(QUERIES_TO_JUDGE))
    visitor.press("Propose queries")
    visitor.wait_for("The questions that come with")
    visitor.press("Start judging")
    visitor.wait_for("Does this answer")
    _, total = visitor.judged_item()
    for number in range(1, total + 1):
        visitor.wait_for(f"Result {number} of {total}.")
        visitor.press("4 good" if number % 2 else "2 hardly")
    visitor.wait_for(f"All {total} results are judged.")
    visitor.wait_for("What to try next")
    print(f"             {total} results graded")


if __name__ == "__main__":
    sys.exit(main())
