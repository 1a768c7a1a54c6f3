"""The machine report, against recorded outputs of nvidia-smi and NVML (tests/recordings)."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from processes import cli
from replayed_tools import RECORDINGS, nvml, put_nvidia_smi_on_path

from rerank_kit import machine
from rerank_kit.machine import compiler, detection, host, nvidia_smi
from rerank_kit.machine import findings as lines
from rerank_kit.machine import gpu as graphics
from rerank_kit.machine import gpu_findings as gpu_lines
from rerank_kit.registry import ServerRecord


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nvidia-ml-py is not installed."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def by_smi(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[machine.Gpu]:
    monkeypatch.setenv("PATH", f"{put_nvidia_smi_on_path(name, folder)}:/usr/bin:/bin")
    return machine.gpus()


def by_nvml(name: str, monkeypatch: pytest.MonkeyPatch) -> list[machine.Gpu]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", nvml(name))
    return machine.gpus()


#: (recording, name, total, free, capability, newest CUDA)
CARDS = [
    ("t4", "Tesla T4", 15.0, 14.57, 7.5, "12.4"),
    ("a10", "NVIDIA A10", 22.49, 4.38, 8.6, "13.0"),
    ("rtx4090", "NVIDIA GeForce RTX 4090", 23.99, 22.82, 8.9, "12.4"),
    ("h200", "NVIDIA H200", 140.4, 139.8, 9.0, "13.0"),
    ("laptop8_wsl2", "NVIDIA GeForce RTX 4060 Laptop GPU", 8.0, 6.78, 8.9, "12.7"),
]


@pytest.mark.parametrize(("name", "model", "total", "free", "capability", "cuda"), CARDS)
def test_both_tools_tell_the_same_card(
    name: str, model: str, total: float, free: float, capability: float, cuda: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None,
) -> None:  # fmt: skip
    for found in (by_smi(name, tmp_path, monkeypatch), by_nvml(name, monkeypatch)):
        [gpu] = found
        assert (gpu.name, gpu.compute_capability, gpu.cuda) == (model, capability, cuda)
        assert gpu.total_gib == pytest.approx(total, abs=0.02)
        assert gpu.free_gib == pytest.approx(free, abs=0.02)
        assert 0.2 < gpu.total_gib - gpu.usable_gib < 0.7


def test_usable_memory_is_what_torch_calls_total(monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi prints 23028 MiB for an A10, PyTorch's messages say 22.06 GiB: the driver
    keeps the rest, and a plan that uses the first number is half a GiB wrong."""
    assert by_nvml("a10", monkeypatch)[0].usable_gib == pytest.approx(22.06, abs=0.01)
    assert by_nvml("t4", monkeypatch)[0].usable_gib == pytest.approx(14.57, abs=0.01)


def test_mig_instances_stand_for_their_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None
) -> None:
    for found in (by_smi("a100_mig", tmp_path, monkeypatch), by_nvml("a100_mig", monkeypatch)):
        assert [gpu.mig for gpu in found] == ["3g.40gb", "1g.10gb"]
        assert found[1].total_gib == pytest.approx(9.5)
        assert found[1].compute_capability == 8.0
        assert found[1].visible_devices == {"CUDA_VISIBLE_DEVICES": found[1].uuid}
        assert found[1].uuid.startswith("MIG-")


def test_mig_in_a_container_that_may_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None
) -> None:
    [gpu] = by_smi("a100_mig_container", tmp_path, monkeypatch)
    assert gpu.mig == "1g.10gb" and 9 < gpu.total_gib < 10


def test_an_old_driver_is_asked_for_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None
) -> None:
    """A field that nvidia-smi does not know makes the whole query fail: a GPU was "not there"."""
    [gpu] = by_smi("old_driver", tmp_path, monkeypatch)
    assert (gpu.name, gpu.compute_capability, gpu.cuda) == ("Tesla T4", 7.5, "11.4")
    fixes = [one for one in gpu_lines.gpu_findings([gpu]) if one.status == "fix"]
    assert [one.id for one in fixes] == ["driver"] and "525" in fixes[0].detail


@pytest.mark.parametrize("name", ["mismatch", "no_devices", "no_driver"])
def test_a_driver_that_fails_is_said_with_its_own_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None
) -> None:
    assert by_smi(name, tmp_path, monkeypatch) == []
    [finding] = gpu_lines.gpu_findings([])
    text = (RECORDINGS / "nvidia_smi" / name / "failure.txt").read_text()
    assert finding.status == "fix" and text.split()[0] in finding.detail


def test_nvml_that_fails_leaves_the_question_to_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml("broken"))
    assert by_smi("t4", tmp_path, monkeypatch)[0].name == "Tesla T4"


def test_cuda_visible_devices_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None
) -> None:
    found = by_smi("two_cards", tmp_path, monkeypatch)
    names = [gpu.name for gpu in found]
    assert names == ["NVIDIA GeForce RTX 3060", "NVIDIA GeForce RTX 3090"]
    for variable, expected in (
        ("1", names[1:]), ("1,0", names[::-1]), ("", []), ("-1", []), ("0,7,1", names[:1]),
        ("GPU-88888888", names[1:]),
    ):  # fmt: skip
        assert [gpu.name for gpu in detection.visible(found, variable)] == expected, variable


def test_who_holds_the_card_is_named_and_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    [gpu] = by_nvml("a10", monkeypatch)
    held = next(one for one in gpu_lines.gpu_findings([gpu]) if one.id == "gpu_memory")
    assert held.status == "fix" and "17.7 GiB" in held.detail and "4194000" in held.fix
    assert held.fix.startswith("ps ")


def test_memory_of_our_own_server_is_no_complaint(own_state: Path) -> None:
    """A record as a launch writes it, and a real process in a group of its own."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                             start_new_session=True)  # fmt: skip
    try:
        ServerRecord(
            url="http://127.0.0.1:1", port=1, pid=child.pid, profile="gpu", model="m",
            created=psutil.Process(child.pid).create_time(), served_name="m", fingerprint="f",
            log_path="l",
        ).save()  # fmt: skip
        text = f"GPU-22222222, {child.pid}, python, 17000\nGPU-22222222, x, y, z\n"
        [held] = nvidia_smi.parse_holders(text)["GPU-22222222"]
        assert held.ours and held.gib == pytest.approx(16.6, abs=0.01)
        gpu = machine.Gpu(0, "NVIDIA A10", 22.5, 5.0, "580.95.05", 8.6, 0.44, holders=(held,))
        found = {one.id: one for one in gpu_lines.gpu_findings([gpu])}
        assert found["gpu_memory"].status == "ok" and "our server" in found["gpu_memory"].detail
    finally:
        child.kill()
        child.wait()


def test_a_card_that_is_too_old_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None
) -> None:
    found = gpu_lines.gpu_findings(by_smi("v100", tmp_path, monkeypatch))
    assert found[0].status == "fix" and "7.5" in found[0].detail
    assert "0.19.1" in found[-1].detail, "driver 535 runs the CUDA 12 wheel"


@pytest.mark.parametrize(
    ("driver", "cuda", "usable"),
    [("610.57.04", "13.2", True), ("580.65.06", "13.0", True), ("580.60", "13.0", True),
     ("570.148.08", "12.8", True), ("525.60.13", "12.0", True), ("470.57.02", "11.4", False),
     ("", "", False)],
)  # fmt: skip
def test_what_a_driver_runs(driver: str, cuda: str, usable: bool) -> None:
    assert graphics.newest_cuda(driver) == cuda
    assert graphics.what_driver_means(driver)[0] is usable
    newest = "0.32.0 (CUDA 13)" in graphics.what_driver_means(driver)[1]
    assert newest == (graphics.driver_number(driver) >= (580, 65))


def test_garbage_from_nvidia_smi_is_left_out() -> None:
    text = "\n\nx\n0, T4\n1, T4, [N/A], [N/A], 550.1, 7.5, GPU-1, [N/A], Disabled, [N/A]\n"
    assert machine.parse_nvidia_smi(text) == []


# --- the machine around the GPU ---------------------------------------------------------------


def recorded_system(root: Path, files: dict[str, str]) -> Path:
    meminfo = "MemTotal:       24617548 kB\nMemFree: 1 kB\nMemAvailable:   20971520 kB\n"
    for name, text in {"proc/meminfo": meminfo, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_container_has_less_memory_than_its_machine(tmp_path: Path) -> None:
    """cgroup version 2, as inside Docker with --memory=4g: the file cache can be dropped."""
    gib = 2**30
    root = recorded_system(tmp_path, {
        "sys/fs/cgroup/memory.max": f"{4 * gib}\n",
        "sys/fs/cgroup/memory.current": f"{3 * gib}\n",
        "sys/fs/cgroup/memory.stat": f"anon {gib}\ninactive_file {2 * gib}\n",
        "proc/self/cgroup": "0::/\n",
    })  # fmt: skip
    found = host.host_memory(root)
    assert (found.total_gib, found.free_gib, found.limited_by) == (4.0, 3.0, "container")


def test_old_control_groups_and_none(tmp_path: Path) -> None:
    limits = "sys/fs/cgroup/memory/"
    one = recorded_system(tmp_path / "one", {
        limits + "memory.limit_in_bytes": f"{8 * 2**30}\n",
        limits + "memory.usage_in_bytes": f"{2**30}\n",
    })  # fmt: skip
    assert host.host_memory(one).total_gib == 8.0
    unlimited = recorded_system(tmp_path / "two", {
        limits + "memory.limit_in_bytes": "9223372036854771712\n",
        limits + "memory.usage_in_bytes": "1\n",
        "sys/fs/cgroup/memory.max": "max\n",
    })  # fmt: skip
    found = host.host_memory(unlimited)
    assert found.limited_by == "machine" and found.free_gib == 20.0


def test_a_group_above_can_be_the_narrow_one(tmp_path: Path) -> None:
    """A user slice or a batch system's job limits the parent, not the process's own group."""
    root = recorded_system(tmp_path, {
        "proc/self/cgroup": "0::/jobs/42/step\n",
        "sys/fs/cgroup/jobs/42/memory.max": f"{6 * 2**30}\n",
        "sys/fs/cgroup/jobs/42/memory.current": "0\n",
        "sys/fs/cgroup/jobs/42/step/memory.max": "max\n",
    })  # fmt: skip
    assert host.host_memory(root).total_gib == 6.0


def test_who_listens_on_a_port() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    port, free = server.server_address[1], machine.free_port()
    try:
        [found] = host.listeners((port, free))
        assert found.port == port and found.pid in (None, os.getpid()) and not found.open
    finally:
        server.server_close()


# --- the compiler -------------------------------------------------------------------------------


def a_command(name: str, folder: Path) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_a_missing_compiler_is_found_before_the_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None
) -> None:
    """A slim image: the server would load the whole model, and only then say so."""
    monkeypatch.setenv("PATH", str(put_nvidia_smi_on_path("t4", tmp_path)))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("CC", raising=False)
    [found] = [one for one in machine.report("gpu") if one.id == "compiler"]
    assert found.status == "fix" and "no C compiler" in found.detail
    assert found.fix.startswith("sudo apt-get install -y build-essential")
    assert "compiler" not in [one.id for one in machine.report("remote")]
    a_command("clang", tmp_path)
    monkeypatch.setattr(compiler, "has_python_headers", lambda: True)
    finding = gpu_lines.compiler_finding()
    assert finding.status == "ok" and "clang" in finding.detail
    monkeypatch.setenv("CC", "icx")
    assert gpu_lines.compiler_finding().detail.startswith("CC=icx is not a program")


def test_missing_headers_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_command("gcc", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("sysconfig.get_path", lambda name, scheme: str(tmp_path))
    assert "no Python.h" in gpu_lines.compiler_finding().detail
    (tmp_path / "Python.h").write_text("")
    assert gpu_lines.compiler_finding().status == "ok"


def test_without_a_gpu_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "gpus", lambda: [])
    assert "compiler" not in [one.id for one in machine.report("practice")]


# --- the whole report ---------------------------------------------------------------------------


def test_check_is_quick_and_every_fix_says_what_to_do() -> None:
    """Quick is what it computes: 0.4 s. What it waits for is the hubs (test_hubs.py), and on a busy
    machine its turn."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = cli("check", "--json")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4
    found = json.loads(done.stdout)["findings"]
    assert [one["id"] for one in found] == [
        "python", "system", "vllm", *(one["id"] for one in found if "gpu" in one["id"]),
        *(one["id"] for one in found if one["id"] in ("driver", "compiler")),
        "memory", "shared_memory", "disk", "ports", "hub",
    ]  # fmt: skip
    for one in found:
        assert one["status"] in ("ok", "fix", "unknown")
        assert bool(one["fix"]) == (one["status"] != "ok"), one


def test_the_report_names_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_nvml: None
) -> None:
    put_nvidia_smi_on_path("h200", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("RERANK_PROFILE", raising=False)
    found = {one.id: one for one in machine.report()}
    assert "NVIDIA H200, 139.8 of 140.4 GiB free" in found["gpu"].detail
    assert "computes in fp8" in found["gpu"].detail and "CUDA up to 13.0" in found["driver"].detail
    assert found["hub"].status == "fix", "the gpu profile needs a model from somewhere"


@pytest.mark.parametrize("name", [card[0] for card in CARDS])
def test_the_binding_has_the_calls_that_are_replayed(name: str) -> None:
    """The stand-in module may have no function that the real nvidia-ml-py lacks."""
    real = pytest.importorskip("pynvml")
    for call in vars(nvml(name)):
        assert call.startswith("__") or hasattr(real, call), call


ENGINE = """
import ctypes, subprocess, sys, time
if len(sys.argv) > 1:  # the engine: as vLLM names it
    ctypes.CDLL(None).prctl(15, b"VLLM::EngineCore", 0, 0, 0)
    print("up", flush=True)
    time.sleep(600)
subprocess.Popen([sys.executable, "-c", open("/proc/self/cmdline").read().split(chr(0))[2], "x"])
time.sleep(600)
"""


@pytest.fixture
def engine() -> Iterator[psutil.Process]:
    """The engine of a server that was just killed."""
    server = subprocess.Popen(
        [sys.executable, "-c", ENGINE], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert server.stdout is not None and server.stdout.readline() == "up\n"
    (process,) = psutil.Process(server.pid).children()
    assert process.name().startswith("VLLM::")
    assert process.pid not in {one.pid for one in machine.orphans(0)}  # its server lives
    server.kill()
    server.wait()
    yield process
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def test_an_engine_whose_server_was_killed_is_found(engine: psutil.Process) -> None:
    """`vllm serve` by hand has no watcher: its engine lives on and holds memory."""
    (found,) = [one for one in lines.report("practice") if one.id == "orphans"]
    assert found.status == "fix" and str(engine.pid) in found.detail
    assert found.fix.startswith("kill ") and "its server is gone" in found.detail
    engine.kill()
    assert engine.pid not in {one.pid for one in machine.orphans()}


def test_an_engine_that_is_just_ending_is_no_orphan(engine: psutil.Process) -> None:
    """Notebook 10 once named one of another notebook's server that was being stopped."""
    assert engine.pid in {one.pid for one in machine.orphans(0)}  # at this moment it lives
    ending = threading.Timer(1.0, engine.kill)
    ending.start()
    assert engine.pid not in {one.pid for one in machine.orphans()}
    ending.join()
