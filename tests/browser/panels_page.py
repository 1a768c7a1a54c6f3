"""A browser on the panels' web page: what a person sees and presses."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe

REPOSITORY = Path(__file__).resolve().parents[2]
CHROMIUM = [
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update",
]  # fmt: skip
#: Generous: a start takes 20 s on two idle cores.
PATIENCE_MS = 300_000


def chromium_path() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def webapp(port: int, state: Path, *options: str, root: Path = REPOSITORY) -> Iterator[Any]:
    """`bash scripts/webapp.sh` in a process of its own; ended as Ctrl-C ends it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RERANK_")}
    environment["RERANK_KIT_STATE_DIR"] = str(state)
    environment.pop("PYTHONPATH", None)
    command = ["bash", str(root / "scripts/webapp.sh"), "--port", str(port), *options]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def wait_for_the_page(process: Any) -> list[str]:
    """The lines that the script has printed when the page is there."""
    said: list[str] = []
    for line in process.stdout:
        said.append(line.rstrip())
        if "Ctrl-C" in line:
            return said
    raise AssertionError("the page did not start:\n" + "\n".join(said))


class Visitor:
    """One person at the page. outside: requests to other hosts (there must be none); complaints:
    errors in the browser's console."""

    def __init__(self, browser: Any, url: str, theme: str = "light", width: int = 1280) -> None:
        self.page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
        self.page.set_default_timeout(180_000)
        self.outside: list[str] = []
        inside = (url, url.replace("http", "ws"), "data:", "blob:")
        self.page.on(
            "request",
            lambda r: None if r.url.startswith(inside) else self.outside.append(r.url),
        )
        self.page.goto(url + ("?theme=dark" if theme == "dark" else ""))
        self.page.wait_for_selector(".rk-tabs button")

    def open(self, tab: str) -> None:
        self.page.locator(".rk-tabs").get_by_role("button", name=tab, exact=True).click()
        self.page.get_by_role("heading", name=tab, exact=True).wait_for()

    def press(self, label: str) -> None:
        buttons = self.page.locator(".rk .jupyter-button:not(.rk-tabs *)")
        exactly = re.compile(rf"^{re.escape(label)}$")
        buttons.filter(has_text=exactly).filter(visible=True).first.click()

    def fill(self, label: str, value: str) -> None:
        box = self.page.get_by_label(label).filter(visible=True).first
        box.fill(value)
        box.blur()

    def choose(self, label: str, value: str) -> None:
        self.page.get_by_label(label).filter(visible=True).first.select_option(label=value)

    def speak(self, language: str) -> None:
        """Show the page in a language, called as the switch calls it."""
        self.page.get_by_label("Language / 语言").select_option(label=language)
        heading = {"English": "Rank", "中文": "排序"}[language]
        self.page.locator(".rk-tabs").get_by_role("button", name=heading, exact=True).wait_for()

    def wait_for(self, text: str) -> None:
        found = self.page.locator(".rk").get_by_text(text).filter(visible=True)
        found.first.wait_for(timeout=PATIENCE_MS)

    def judged_item(self) -> tuple[int, int]:
        """(number, of how many) of the result that the Judge panel shows."""
        line = self.page.locator(".rk").get_by_text(re.compile(r"^Result \d+ of \d+\.$"))
        number, total = re.findall(r"\d+", line.filter(visible=True).first.inner_text())
        return int(number), int(total)

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate(
            "Math.max(...[...document.querySelectorAll('.rk, .rk *')].map("
            "e => e.getBoundingClientRect().right)) - window.innerWidth"
        )

    def barriers(self) -> str:
        """What axe-core finds on the page that keeps people out: names missing for readers of
        screens, too little contrast, broken roles (WCAG 2.1 A and AA). Nothing: ""."""
        rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
        found = Axe().run(
            self.page, context=".rk-app", options={"runOnly": {"type": "tag", "values": rules}}
        )
        assert len(found.response["passes"]) > 10, "axe-core has looked at nothing"
        return found.generate_report() if found.violations_count else ""

    def picture(self, path: Path, first: str = "", last: str = "") -> None:
        """The whole page (the window is made as tall as what is in it), or what stands between
        the top of the first and the bottom of the last of two places, named by CSS."""
        width = self.page.viewport_size["width"]
        tall = self.page.evaluate(
            "Math.ceil(document.querySelector('#rendered_cells').scrollHeight)"
        )
        self.page.set_viewport_size({"width": width, "height": max(600, min(tall + 30, 3000))})
        self.page.wait_for_timeout(200)
        path.parent.mkdir(exist_ok=True, parents=True)
        clip = None
        if first:
            top = self._box(first)["y"] - 8
            end = self._box(last)
            clip = {"x": 0, "y": top, "width": width, "height": end["y"] + end["height"] - top + 8}
        self.page.screenshot(path=path, clip=clip)
        self.page.set_viewport_size({"width": width, "height": 900})

    def _box(self, place: str) -> Any:
        return self.page.locator(place).filter(visible=True).first.bounding_box()
