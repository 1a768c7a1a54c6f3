"""Nothing of a server outlives its main process, however that one ends; and nobody else is hurt.

With real small processes; the last test kills a real vLLM.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import end_all, wait_until

from rerank_kit import end_with_main, launch, registry
from rerank_kit.server import process_group

WATCHER = Path(end_with_main.__file__)

#: A main process with the watcher, and with a worker that does not hear SIGTERM.
MAIN = """
import signal, subprocess, sys, time
from rerank_kit import run_vllm
run_vllm.start_watcher()
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)"
subprocess.Popen([sys.executable, "-c", deaf + "; time.sleep(600)"])
time.sleep(600)
"""


def start_main(*, leads_a_group: bool = True) -> subprocess.Popen[str]:
    """Running, its worker up and its watcher in place."""
    child = subprocess.Popen(
        [sys.executable, "-c", MAIN], stdout=subprocess.PIPE, text=True,
        start_new_session=leads_a_group,
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "up\n"
    if leads_a_group:
        wait_until(lambda: watchers_of(child.pid) and ignores_term(watchers_of(child.pid)[0]), 180)
    return child


def watchers_of(group: int) -> list[psutil.Process]:
    return [one for one in process_group.members(group) if WATCHER.name in " ".join(words(one))]


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def ignores_term(process: psutil.Process) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    mask = int(status.split("SigIgn:")[1].split()[0], 16)
    return bool(mask >> (signal.SIGTERM - 1) & 1)


def test_a_killed_main_process_takes_its_group_along() -> None:
    """Even a worker that ignores SIGTERM. A group of somebody else stays."""
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    child = start_main()
    try:
        assert len(process_group.members(child.pid)) == 3
        child.kill()
        child.wait()
        wait_until(lambda: not process_group.members(child.pid), 180)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_watcher_ends_with_a_main_process_that_ends_well() -> None:
    child = start_main()
    worker = next(one for one in process_group.members(child.pid)
                  if one.pid not in (child.pid, watchers_of(child.pid)[0].pid))  # fmt: skip
    worker.kill()
    child.terminate()
    child.wait()
    wait_until(lambda: not process_group.members(child.pid), 180)


def test_signals_for_the_group_do_not_take_the_watcher_away() -> None:
    """Story to prevent: a SIGTERM that the server answers slowly ends the watcher first, and the
    SIGKILL that follows leaves the engine alone."""
    child = start_main()
    (watcher,) = watchers_of(child.pid)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        watcher.send_signal(number)
    assert watcher.status() != psutil.STATUS_ZOMBIE and watchers_of(child.pid) == [watcher]
    child.kill()
    child.wait()
    wait_until(lambda: not process_group.members(child.pid), 180)


def test_a_group_that_is_not_the_servers_own_gets_no_watcher() -> None:
    """Started by hand in a shell's group, which a person's other programs share."""
    child = start_main(leads_a_group=False)
    try:
        children = psutil.Process(child.pid).children()
        assert not any(WATCHER.name in " ".join(words(one)) for one in children)
    finally:
        end_all(psutil.Process(child.pid).children())
        child.kill()
        child.wait()


def test_a_watcher_whose_main_process_is_gone_already_hurts_nobody() -> None:
    """It came too late, and the pid belongs to somebody else: this test, in its own group."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(WATCHER), str(2**22 - 7)], timeout=300, check=True
    )
    assert done.returncode == 0 and time.monotonic() - started < 30
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        # A stranger's pid: no parent of the watcher, so there is nothing to wait for.
        subprocess.run([sys.executable, "-I", "-S", str(WATCHER), str(bystander.pid)], timeout=300)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_without_pidfd_the_parent_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old kernels, macOS, and sandboxes that forbid the call."""

    def forbidden(pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", forbidden)
    monkeypatch.setattr(end_with_main, "LOOK_SECONDS", 0.01)
    parents = iter([4711, 4711, 4711, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    end_with_main.wait_for_the_end(4711)
    assert list(parents) == []


@pytest.mark.slow
def test_a_killed_server_leaves_no_engine(own_state: Path) -> None:
    """Story: the out-of-memory killer took vLLM's main process, and VLLM::EngineCore kept the
    memory for minutes (vllm issue 55510)."""
    running = launch("practice")
    assert running.record is not None
    processes = running.record.processes()
    assert len(processes) >= 3
    os.kill(running.record.pid, signal.SIGKILL)
    process_group.reap_children()
    # Alone it took minutes. One that is just ending has no files any more, but still runs.
    wait_until(lambda: not any(map(registry.process_is_running, processes)), 60)
    assert running.record.processes() == []
    assert registry.living() == []
