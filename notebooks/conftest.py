"""For `pytest --nbval notebooks`: one practice server for all notebooks, which attach to it.

With xdist (`-n 2`) the controller starts and stops it; the workers only run kernels. Cells that
compare what they measure of the shared server have it, and the machine, to themselves."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

#: Notebook -> ids of the cells during which no cell of another notebook runs: their neighbour's
#: requests would be in the server's counters, and in the time that theirs take.
MEASURES_ALONE = {"07_tune.ipynb": {"load", "one-check", "one-count", "open-check"}}
#: The folder of the two locks, which the workers inherit; not set without xdist.
LOCKS_VARIABLE = "RERANK_KIT_NOTEBOOK_LOCKS"
PROJECT = str(Path(__file__).resolve().parent.parent)
#: The Chinese edition is the same code with the same saved outputs (tests/test_translation.py).
collect_ignore = ["zh-CN"]
_server = None
_state = ""


def pytest_collectstart(collector):
    """Warnings name the kernel's process number, so they are not compared (none is stored:
    tests/test_notebook_rules.py sees to that)."""
    if type(collector).__name__ == "IPyNbFile":
        collector.skip_compare += ("stderr",)


@pytest.hookimpl(optionalhook=True)  # only with xdist
def pytest_xdist_make_scheduler(config, log):
    """A lesson and its solution run one after the other. Both start servers with the same
    settings, so side by side they would share one, and the first to end would stop it under the
    other. (xdist's own loadgroup does nothing with pytest 9.2: it renames what cannot be.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByLesson(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return Path(nodeid.split("::")[0]).name

    return ByLesson(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Hold a lock while a cell runs: shared, or exclusive where the cell measures."""
    folder = os.environ.get(LOCKS_VARIABLE)
    if type(item).__name__ != "IPyNbCell" or folder is None:
        return (yield)
    alone = item.cell.get("id") in MEASURES_ALONE.get(item.path.name, ())
    with side_by_side(Path(folder), alone):
        return (yield)


@contextlib.contextmanager
def side_by_side(folder, alone):
    """Who wants to be alone waits at the door and keeps it: else it would wait for ever while
    others go in one after the other."""
    import fcntl  # not on Windows, where only the remote profile runs

    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield  # closing the files releases the lock, also when this process is killed


def pytest_sessionstart(session):
    """With xdist: before the workers, which inherit the environment, are started."""
    if getattr(session.config.option, "numprocesses", None) and session.config.option.nbval:
        if not hasattr(session.config, "workerinput"):
            os.environ[LOCKS_VARIABLE] = tempfile.mkdtemp(prefix="rerank-kit-notebooks-")
        _start(session.config)


def pytest_collection_finish(session):
    """Without xdist: only when notebook cells were really collected and will be run."""
    cells = any(type(item).__name__ == "IPyNbCell" for item in session.items)
    if cells and not session.testsfailed:
        _start(session.config)


def _start(config):
    global _server, _state
    if _server is not None or config.option.collectonly or hasattr(config, "workerinput"):
        return
    os.environ.setdefault("RERANK_PROFILE", "practice")
    if os.environ["RERANK_PROFILE"] == "practice":
        for name in ("RERANK_URL", "RERANK_API_KEY"):
            os.environ.pop(name, None)
    for name in ("RERANK_KIT_LANGUAGE", "PYTHONDONTWRITEBYTECODE"):  # English is compared
        os.environ.pop(name, None)
    # A state folder of their own: the user's servers, guard and remembered settings are not theirs.
    folder = os.environ.get("RERANK_KIT_TESTS_STATE_DIR")
    if not folder:
        folder = _state = tempfile.mkdtemp(prefix="rerank-kit-notebooks-state-")
    os.environ["RERANK_KIT_STATE_DIR"] = folder
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
    if not hasattr(session.config, "workerinput"):
        if not session.testsfailed:  # else its logs are evidence
            shutil.rmtree(_state, ignore_errors=True)
        shutil.rmtree(os.environ.pop(LOCKS_VARIABLE, ""), ignore_errors=True)
