"""For `pytest --nbval notebooks`: one practice server for all notebooks, which attach to it.

With xdist (`-n 2`) the controller starts and stops it; the workers only run kernels."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROJECT = str(Path(__file__).resolve().parent.parent)
#: The Chinese edition is the same code with the same saved outputs (tests/test_translation.py).
collect_ignore = ["zh-CN"]
_server = None


def pytest_collectstart(collector):
    """Warnings name the kernel's process number, so they are not compared (none is stored:
    tests/test_notebook_rules.py sees to that)."""
    if type(collector).__name__ == "IPyNbFile":
        collector.skip_compare += ("stderr",)


def pytest_sessionstart(session):
    """With xdist: before the workers, which inherit the environment, are started."""
    if getattr(session.config.option, "numprocesses", None) and session.config.option.nbval:
        _start(session.config)


def pytest_collection_finish(session):
    """Without xdist: only when notebook cells were really collected and will be run."""
    cells = any(type(item).__name__ == "IPyNbCell" for item in session.items)
    if cells and not session.testsfailed:
        _start(session.config)


def _start(config):
    global _server
    if _server is not None or config.option.collectonly or hasattr(config, "workerinput"):
        return
    os.environ.setdefault("RERANK_PROFILE", "practice")
    if os.environ["RERANK_PROFILE"] == "practice":
        for name in ("RERANK_URL", "RERANK_API_KEY"):
            os.environ.pop(name, None)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    paths = [PROJECT, os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    if PROJECT not in sys.path:
        sys.path.insert(0, PROJECT)
    from rerank_kit import launch, machine

    # A practice server gets a port of its own: 8000 may be somebody's choice for later.
    practice = os.environ["RERANK_PROFILE"] == "practice"
    _server = launch(os.environ["RERANK_PROFILE"], port=machine.free_port() if practice else None)


def pytest_sessionfinish(session):
    """Stop it if it was started here."""
    global _server
    if _server is not None:
        _server.stop()
        _server = None
