"""uv and the Pythons: find or fetch uv, read pip's settings, choose the Python for .venv."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import Dict, Optional, Tuple

from set_up import machine, sources
from set_up.project import Project
from set_up.steps import SetupError, Steps

OLDEST_UV = (0, 6)
SUPPORTED_PYTHONS = ((3, 11), (3, 12), (3, 13))


def uv_version(path: str) -> Tuple[int, ...]:
    status, text = machine.run([path, "--version"], 20)
    found = re.search(r"uv (\d+)\.(\d+)", text) if status == 0 else None
    return tuple(map(int, found.groups())) if found else (0, 0)


def find_uv(project: Project) -> Optional[str]:
    """A uv that is new enough: the user's own, or the one in .bootstrap."""
    for path in (shutil.which("uv"), str(project.root / ".bootstrap" / "bin" / "uv")):
        if path and os.path.exists(path) and uv_version(path) >= OLDEST_UV:
            return path
    return None


def python_with_pip() -> Optional[str]:
    """An interpreter that has pip: this one, the one it was made from, or the system's.

    An environment made by uv (our own .venv, when it is activated) has no pip.
    """
    base = getattr(sys, "_base_executable", sys.executable)
    for python in (sys.executable, base, "/usr/bin/python3"):
        if python and machine.run([python, "-m", "pip", "--version"], 60)[0] == 0:
            return python
    return None


def fetch_uv(project: Project, steps: Steps) -> str:
    """Get uv with pip into .bootstrap (about 25 MB), leaving the system's Python as it is."""
    python = python_with_pip()
    if python is None:
        raise SetupError(
            "uv is missing, and this Python has no pip to fetch it with.",
            "%s -m pip: No module named pip" % sys.executable,
            ["apt-get install python3-pip", "or install uv (docs.astral.sh/uv) and run this again"],
        )
    target = project.root / ".bootstrap"
    fresh = project.root / (".bootstrap.new.%d" % os.getpid())
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    index = steps.environment.get("UV_DEFAULT_INDEX")
    if index and os.environ.get("RERANK_KIT_MIRROR"):
        command += ["--index-url", index]
    pip_environment = dict(steps.environment)
    for name in ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"):
        pip_environment.pop(name, None)
    fetch = Steps(project, pip_environment)
    fetch.must(
        "Fetching uv with pip (25 MB)",
        command + ["--target", str(fresh), "uv>=%s" % ".".join(map(str, OLDEST_UV))],
        600,
        "pip could not fetch uv.",
    )
    if target.exists():
        shutil.rmtree(str(target))
    fresh.rename(target)
    return str(target / "bin" / "uv")


def pip_settings() -> Dict[str, str]:
    """The user's pip settings, or none where there is no pip."""
    python = python_with_pip()
    status, text = machine.run([python, "-m", "pip", "config", "list"], 60) if python else (1, "")
    from_environment = {
        name[4:].lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }
    settings = sources.parse_pip_config(text) if status == 0 else {}
    settings.update(from_environment)
    return settings


def choose_python() -> str:
    """What `uv venv --python` is given: a Python of this machine, else one that uv fetches."""
    asked = os.environ.get("RERANK_KIT_PYTHON")
    if asked:
        return shutil.which(asked) or asked  # "3.12" is also understood: uv finds or fetches it
    if machine.running_python() in SUPPORTED_PYTHONS:
        return sys.executable
    for minor in (12, 11, 13):
        path = shutil.which("python3.%d" % minor)
        if path and machine.run([path, "--version"], 20)[0] == 0:
            return path
    return "3.12"


def python_name(python: str) -> str:
    """Its version for people: "3.12.1", or what uv is asked for."""
    status, text = machine.run([python, "--version"], 20)
    return text.split()[-1] if status == 0 and text.strip() else python
