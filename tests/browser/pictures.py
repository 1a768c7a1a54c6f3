"""Pictures of every panel on the web page, to be looked at by people.

    python tests/browser/pictures.py [--folder artefacts/pictures]     every panel: both languages,
                                                both themes, 1280 and 800 px wide (about 5 minutes)
    python tests/browser/pictures.py --readme                          the small ones of the READMEs

It starts the page and a practice server of its own, and ends both.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import panels_page as here
import test_panels_page as story

from rerank_kit.language import LANGUAGES
from rerank_kit.machine import free_port

LOOKS = [(theme, width) for width in (1280, 800) for theme in ("light", "dark")]
README_FOLDER = here.REPOSITORY / "notebooks" / "pictures"
#: Wide enough to be read at the width of a README, narrow enough to stay small.
README_WIDTH = 1000


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=here.REPOSITORY / "artefacts" / "pictures")
    parser.add_argument("--readme", action="store_true", help="only those of the READMEs")
    options = parser.parse_args()
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with (
        tempfile.TemporaryDirectory() as state,
        here.webapp(port, Path(state), "--profile", "practice") as app,
        sync_playwright() as playwright,
    ):
        here.wait_for_the_page(app)
        browser = playwright.chromium.launch(
            executable_path=here.chromium_path(), args=here.CHROMIUM
        )
        made = _for_readme(browser, url) if options.readme else _all(browser, url, options.folder)
        browser.close()
    print(f"{len(made)} pictures in {made[0].parent}")
    return 0


def _all(browser: Any, url: str, folder: Path) -> list[Path]:
    made = []
    for theme, width in LOOKS:
        visitor = here.Visitor(browser, url, theme, width)
        visitor.wait_for("Server: ready")
        for tab in story.TABS:
            visitor.open(tab)
            story.use(visitor, tab)
            for language in reversed(LANGUAGES):  # English last: the tabs are found by it
                visitor.speak(LANGUAGES[language])
                made.append(folder / f"{tab.lower()}-{language}-{theme}-{width}.png")
                visitor.picture(made[-1])
                print(made[-1].name, flush=True)
        visitor.page.context.close()
    return made


def _for_readme(browser: Any, url: str) -> list[Path]:
    """A ranking in each language, and a start that fails and says why."""
    visitor = here.Visitor(browser, url, width=README_WIDTH)
    visitor.wait_for("Server: ready")
    made = [README_FOLDER / f"{name}.png" for name in ("rank", "rank-zh", "failure", "failure-zh")]
    rows = ".rk-card.bad", ".rk-fixes"
    story.use(visitor, "Rank")
    visitor.page.get_by_label("Show the very prompt").uncheck()
    visitor.picture(made[0], "h2", ".rk-links")
    visitor.speak(LANGUAGES["zh"])
    visitor.picture(made[1], "h2", ".rk-links")
    visitor.speak(LANGUAGES["en"])
    story.fail(visitor)
    visitor.picture(made[2], *rows)
    visitor.speak(LANGUAGES["zh"])
    visitor.picture(made[3], *rows)
    for path in made:
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE)
        small.save(path, optimize=True)
    return made


if __name__ == "__main__":
    sys.exit(main())
