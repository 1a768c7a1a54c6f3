"""A real Chromium opens the notebooks in a real JupyterLab and runs them, offline."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from rerank_kit import Server
from rerank_kit.machine import free_port

playwright_api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.browser, pytest.mark.full, pytest.mark.timeout(1200)]
REPOSITORY = Path(__file__).parents[2]
PICTURES = REPOSITORY / "artefacts"
QUIET = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
THEME = "@jupyterlab/apputils-extension:themes"
NOTIFICATION = "@jupyterlab/apputils-extension:notification"
#: Every cell stays in the page, so that it can be counted.
NOTEBOOK = "@jupyterlab/notebook-extension:tracker"
#: Saved counts are cleared first ([ ]:), a running cell shows [*]:, a finished one its number.
ALL_RAN = """() => {
  const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
  return prompts.length > 10 && prompts.every(p => /\\[\\d+\\]/.test(p.textContent));
}"""


@dataclass(frozen=True)
class Lab:
    url: str
    token: str

    def put_settings(self, plugin: str, values: dict[str, object]) -> None:
        address = f"{self.url}/lab/api/settings/{plugin}?token={self.token}"
        body = {"raw": json.dumps(values)}
        requests.put(address, json=body, timeout=30).raise_for_status()


@pytest.fixture(scope="module")
def lab(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab over a copy of the notebooks, with settings of its own."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks")
    port, token = free_port(), secrets.token_hex(16)
    environment = dict(os.environ, JUPYTER_TOKEN=token, RERANK_PROFILE="practice")
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    environment |= {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
               "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
               f"--ServerApp.root_dir={folder}"]  # fmt: skip
    with (folder / "lab.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    running = Lab(f"http://127.0.0.1:{port}", token)
    try:
        deadline = time.monotonic() + 300
        while not _answers(running):
            assert time.monotonic() < deadline, (folder / "lab.log").read_text()[-2000:]
            time.sleep(0.5)
        running.put_settings(NOTIFICATION, QUIET)
        running.put_settings(NOTEBOOK, {"windowingMode": "none"})
        yield running
    finally:
        process.terminate()
        process.wait(180)


def _answers(lab: Lab) -> bool:
    try:
        return requests.get(f"{lab.url}/api/status?token={lab.token}", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "no chromium: scripts/test.sh leaves browser tests out then"
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                 "--disable-background-networking", "--disable-component-update"]  # fmt: skip
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.mark.parametrize(
    ("name", "theme", "width"),
    [
        ("00_start_here", "JupyterLab Light", 1280),
        ("01_first_ranking", "JupyterLab Dark", 800),
        ("02_what_the_model_reads", "JupyterLab Light", 800),
    ],
)
def test_a_notebook_runs_from_top_to_bottom(
    lab: Lab, chromium: object, name: str, theme: str, width: int
) -> None:
    lab.put_settings(THEME, {"theme": theme})
    page = chromium.new_context(viewport={"width": width, "height": 900}).new_page()  # type: ignore[attr-defined]
    page.set_default_timeout(180_000)
    outside: list[str] = []
    page.on("request", lambda r: outside.append(r.url) if _is_outside(r.url, lab) else None)
    page.goto(f"{lab.url}/lab/tree/notebooks/{name}.ipynb?token={lab.token}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    idle = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'"
    page.wait_for_function(idle)
    page.locator(".jp-Notebook .jp-Cell").first.click()
    _menu(page, "Edit", "Clear Outputs of All Cells")
    page.wait_for_function(f"!({ALL_RAN})()")
    _menu(page, "Run", "Run All Cells")
    page.wait_for_function(ALL_RAN, timeout=600_000)
    PICTURES.mkdir(exist_ok=True)
    look = f"{name}-{theme.split()[-1].lower()}-{width}"
    page.screenshot(path=PICTURES / f"{look}-end.png")
    assert page.locator(".jp-RenderedText[data-mime-type*='error']").count() == 0
    if name == "01_first_ranking":
        _use_the_panel(page, PICTURES / f"{look}-panel.png")
    for number, heading in enumerate(page.locator(".jp-Notebook h2").all()[1::2]):
        heading.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        page.screenshot(path=PICTURES / f"{look}-{number}.png")
    assert outside == [], "a notebook asked an outside host"


def _use_the_panel(page: Any, picture: Path) -> None:
    """The panel is alive in JupyterLab, too, and has the theme's colours."""
    panel = page.locator(".rk").first
    panel.scroll_into_view_if_needed()
    panel.locator(".jupyter-button", has_text="Rank").click()
    panel.get_by_text("5 documents").wait_for()
    assert panel.locator("table[aria-label=ranking] tbody tr").count() == 5
    panel.screenshot(path=picture)


def _menu(page: Any, menu: str, item: str) -> None:
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=item, exact=True).click()


def _is_outside(url: str, lab: Lab) -> bool:
    return not url.startswith((lab.url, lab.url.replace("http", "ws"), "data:", "blob:"))
