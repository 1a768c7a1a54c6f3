"""Make `.venv`: what the worker does.

A mark says that an installation is under way and the state file is written last, so a set-up
that was killed is seen by the next one and repaired.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

from set_up import machine, sources
from set_up.project import Project, inputs_hash, read_state
from set_up.steps import Steps, duration, explain
from set_up.uv import fetch_uv, find_uv, pip_settings, python_name


@dataclass(frozen=True)
class Plan:
    """What to install: passed from the foreground to the worker as JSON."""

    build: str
    extras: List[str]
    pins: str
    python: str
    image_sites: Sequence[str] = ()  # where the reused vLLM is
    pins_text: str = ""  # when the image's versions change our pins
    asked: str = "auto"  # who chose the build: "auto", "wish" (RERANK_KIT_BUILD) or "url"
    driver: Optional[str] = None  # at that time

    def to_json(self) -> str:
        return json.dumps(self.__dict__)


def install(project: Project, plan: Plan) -> None:
    """Do it. Runs in the worker."""
    began = time.monotonic()
    environment = dict(os.environ)
    for name in (
        "UV_SYSTEM_PYTHON",
        "UV_PYTHON",
        "UV_PROJECT_ENVIRONMENT",
        "PYTHONHOME",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "UV_CONSTRAINT",
        "UV_OVERRIDE",
    ):
        environment.pop(name, None)
    environment.update(
        sources.uv_settings(pip_settings(), environment, os.environ.get("RERANK_KIT_MIRROR", ""))
    )
    environment["UV_CACHE_DIR"] = str(cache_place())
    project.details.write_text("")
    steps = Steps(project, environment)
    uv = find_uv(project) or fetch_uv(project, steps)
    state = read_state(project)
    rebuild = (
        project.unfinished.exists()  # a set-up was killed: what it left cannot be trusted
        or not project.python.exists()
        or bool(state)
        and (
            state.get("build") != plan.build
            or state.get("root") != str(project.root)
            or bool(os.environ.get("RERANK_KIT_PYTHON"))
            and state.get("base_python") != plan.python
        )
    )
    project.unfinished.write_text(plan.to_json() + "\n")
    if project.state_file.exists():
        project.state_file.unlink()
    if rebuild:
        _make_venv(project, plan, uv, steps)
    packages = _install_command(project, plan, uv)
    if environment.get("RERANK_KIT_NO_INDEX") == "1":
        packages.insert(3, "--no-index")
    _resolve(plan, packages, steps)
    steps.must(
        "Downloading and installing",
        packages,
        2 * 3600,
        "The packages could not be installed.",
    )
    if plan.image_sites:
        steps.must(
            "Checking that the image's vLLM is seen",
            [project.python, "-c", "import importlib.metadata as m; print(m.version('vllm'))"],
            120,
            "The image's vLLM is not seen from .venv.",
            ["RERANK_KIT_BUILD=gpu or gpu-cuda12 installs our own"],
        )
    _quiet_jupyter(project)
    version = machine.run(
        [str(project.python), "-c", "import sys; print(sys.version.split()[0])"], 60
    )
    new_state = {
        "root": str(project.root),
        "inputs": inputs_hash(project),
        "build": plan.build,
        "extras": sorted(plan.extras),
        "python": version[1].strip(),
        "base_python": plan.python,
        "asked": plan.asked,
        "driver": plan.driver,
        "data_dir": os.environ.get("RERANK_KIT_DATA_DIR") or state.get("data_dir"),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }
    partial = project.state_file.with_suffix(".new")
    partial.write_text(json.dumps(new_state, indent=1) + "\n", encoding="utf-8")
    os.replace(str(partial), str(project.state_file))
    project.unfinished.unlink()
    print("Set-up finished in %s." % duration(time.monotonic() - began), flush=True)


def _make_venv(project: Project, plan: Plan, uv: str, steps: Steps) -> None:
    """A fresh .venv; on the data disk when there is one."""
    place = venv_place(project)
    if place != project.venv:
        place.mkdir(parents=True, exist_ok=True)
        if not project.venv.is_symlink():
            if project.venv.exists():
                shutil.rmtree(str(project.venv))
            project.venv.symlink_to(place, target_is_directory=True)
    if place.exists():
        # `uv venv --clear` would replace a link by a folder, so the contents go, not the link.
        for entry in place.iterdir():
            shutil.rmtree(
                str(entry)
            ) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    steps.must(
        "Making .venv with Python %s" % python_name(plan.python),
        [uv, "venv", "--no-project", "--allow-existing", "--python", plan.python, project.venv],
        900,
        "The environment could not be made; it needs Python 3.11, 3.12 or 3.13.",
        ["install one of them (apt-get, conda, pyenv) and name it: RERANK_KIT_PYTHON=python3.12"],
    )
    if plan.image_sites:
        # Not --system-site-packages: made from an environment, that shows its base instead.
        for site in project.venv.glob("lib/python3.*/site-packages"):
            (site / "packages_of_the_image.pth").write_text("\n".join(plan.image_sites) + "\n")


def venv_place(project: Project) -> Path:
    """Where .venv really is: in the project, or under RERANK_KIT_DATA_DIR."""
    data = os.environ.get("RERANK_KIT_DATA_DIR")
    if project.venv.is_symlink():
        return Path(os.readlink(str(project.venv)))
    if not data:
        return project.venv
    mark = hashlib.sha256(str(project.root).encode()).hexdigest()[:8]
    return Path(data).absolute() / "rerank_kit" / ("venv-" + mark)


def cache_place() -> Path:
    """Where uv keeps downloads: the user's choice, the data disk, or uv's usual place."""
    if os.environ.get("UV_CACHE_DIR"):
        return Path(os.environ["UV_CACHE_DIR"])
    if os.environ.get("RERANK_KIT_DATA_DIR"):
        return Path(os.environ["RERANK_KIT_DATA_DIR"]).absolute() / "rerank_kit" / "uv-cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"


def _install_command(project: Project, plan: Plan, uv: str) -> List[str]:
    pins = project.pins / (plan.pins + ".txt")
    if plan.pins_text:
        pins = project.work / "pins.txt"
        pins.write_text(plan.pins_text, encoding="utf-8")
    names = ",".join(plan.extras)
    command = [uv, "pip", "install", "--python", str(project.python), "--constraints", str(pins)]
    if plan.build == "cpu":
        command += ["--overrides", str(project.pins / "cpu-overrides.txt")]
    return command + [
        "--editable",
        "%s[%s]" % (project.root, names) if names else str(project.root),
    ]


def _resolve(plan: Plan, command: List[str], steps: Steps) -> None:
    """Ask for the list first: a missing package shows now, not after a gigabyte."""
    dry = command[:3] + ["--dry-run"] + command[3:]
    what = "The package index cannot provide what is needed."
    if steps.run("Looking up the packages", dry, 900) == 0:
        return
    lacks_torch = plan.build == "cpu" and re.search(r"\btorch\b.*==2\.13\.0\+cpu", steps.output)
    if not lacks_torch:
        raise explain(what, steps.output, [], steps.project)
    print("  your package sources do not have the CPU build of torch; adding PyTorch's own page")
    steps.environment.update(sources.with_torch_links(steps.environment))
    if steps.run("Looking up the packages again", dry, 900) != 0:
        raise explain(
            "The CPU build of torch 2.13.0 for this Python was not found.",
            steps.output,
            [
                "allow %s, or name a copy: PIP_FIND_LINKS=<folder or page with the wheel>"
                % sources.TORCH_CPU_LINKS,
                "another Python may have it: RERANK_KIT_PYTHON=python3.11",
                "without vLLM: RERANK_KIT_BUILD=remote",
            ],
            steps.project,
        )


def _quiet_jupyter(project: Project) -> None:
    """No news pop-up and no update check in our JupyterLab: nothing leaves the machine."""
    settings = project.venv / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "overrides.json").write_text(
        json.dumps(
            {
                "@jupyterlab/apputils-extension:notification": {
                    "fetchNews": "false",
                    "checkForUpdates": False,
                    "doNotDisturbMode": True,
                }
            },
            indent=1,
        )
        + "\n"
    )
