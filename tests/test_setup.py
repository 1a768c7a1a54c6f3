"""The set-up's decisions: which build a machine gets, from where, and what an image has already."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest
from checkout import ROOT
from set_up import choice, install, lab, machine, reuse, sources, steps
from set_up.machine import Driver, Machine
from set_up.project import Project

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
    status, text = machine.run([sys.executable, "-c", reuse.PROBE], 300)
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

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert lab.free_port(port) > port
