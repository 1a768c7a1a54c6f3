"""The server itself is killed, its state is stale, or its disk is full. Each way returns True when
nothing at all may be left of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

from rerank_kit.registry import read_json_object
from soak.playground import LAUNCH, LIMIT_SECONDS, Playground, words


def stale_state(play: Playground) -> bool:
    """After a reboot: records of processes that are gone, or whose pids belong to others."""
    folder = play.state / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    common = {
        "url": "http://127.0.0.1:1", "profile": "practice", "model": "m", "served_name": "m",
        "fingerprint": "f", "log_path": str(play.state / "none"), "state": "ready",
        "mark": "0" * 32,
    }  # fmt: skip
    long_ago = time.time() - 86400
    for port, pid in ((1, stranger.pid), (2, 2**22 - 7), (3, 0)):
        record = {**common, "port": port, "pid": pid, "created": long_ago, "started_at": long_ago}
        (folder / f"{port}.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "4.json").write_text('{"half a', encoding="utf-8")
    try:
        play.command("stop")
        if stranger.poll() is not None:
            raise RuntimeError("a stranger with a reused pid was killed")
        child = play.start(LAUNCH)
        play.random_moment(child)
        child.kill()
    finally:
        stranger.kill()
        stranger.wait()
    return False


def full_disk(play: Playground) -> bool:
    """The state folder, logs included, on a disk without room; or one that fills up later."""
    play.state.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(play.state)], capture_output=True
    )
    if mounted.returncode != 0:
        play.detail.append("LEFT OUT: no right to mount a tmpfs")
        return True
    try:
        later = play.dice.random() < 0.5
        play.detail.append("fills up during the start" if later else "full from the start")
        if not later:
            _fill(play.state)
        child = play.start(LAUNCH)
        if later and play.wait_for(play.records, child):
            time.sleep(play.dice.uniform(0.0, 2.0))
            _fill(play.state)
            play.command("stop")  # must work without a byte of room
        _, error = child.communicate(timeout=LIMIT_SECONDS)
        if child.returncode not in (0, 1) or "Traceback" in error:
            raise RuntimeError(f"the launch ended with {child.returncode}: {error[-300:]}")
        play.end_helpers()
        play.command("stop")
        problems = play.untidy()
        if problems:
            raise RuntimeError("; ".join(problems))
    finally:
        subprocess.run(["umount", "-l", str(play.state)], check=True)
    return True


def _fill(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "ballast").open("wb") as file:
        while True:
            file.write(b"x" * 4096)
            file.flush()


def wrong_flag(play: Playground) -> bool:
    child = play.start([*LAUNCH, "--", "--no-such-flag"])
    _, error = child.communicate(timeout=LIMIT_SECONDS)
    if child.returncode != 1 or "--no-such-flag" not in error:
        raise RuntimeError(f"the launch ended with {child.returncode}: {error[-300:]}")
    return True


def main_process_killed(play: Playground) -> bool:
    """The out-of-memory killer takes the server while it serves."""
    _make_ready(play, LAUNCH)
    _, told = play.command("status")
    os.kill(told["pid"], signal.SIGKILL)
    return True


def main_process_killed_during_the_start(play: Playground) -> bool:
    """The same, at some moment before it serves: its launcher says so, and ends."""
    child = play.start(LAUNCH)
    play.random_moment(child)
    if not play.wait_for(lambda: _main_pid(play), child):
        raise RuntimeError(f"the launch ended by itself: {child.communicate()[1][-300:]}")
    with contextlib.suppress(ProcessLookupError):
        os.kill(_main_pid(play), signal.SIGKILL)
    _, error = child.communicate(timeout=LIMIT_SECONDS)
    if child.returncode != 1 or "Traceback" in error:
        raise RuntimeError(f"the launch ended with {child.returncode}: {error[-300:]}")
    return True


def _main_pid(play: Playground) -> int:
    """As the state file says; 0 while there is none."""
    return max((read_json_object(path).get("pid", 0) for path in play.records()), default=0)


def worker_killed(play: Playground) -> bool:
    """A server with a worker process of its own (as with several GPUs) loses it."""
    _make_ready(play, [*LAUNCH, "--", "--distributed-executor-backend", "mp"])
    _, told = play.command("status")
    workers = [
        process
        for process in psutil.Process(told["pid"]).children(recursive=True)
        if "spawn_main" in words(process) or "VLLM" in words(process)
    ]
    if not workers:
        raise RuntimeError("the server has no worker to kill")
    with contextlib.suppress(psutil.NoSuchProcess):
        play.dice.choice(workers).kill()
    return False  # vLLM may stay up without it; it must be known then


def _make_ready(play: Playground, command: list[str]) -> None:
    child = play.start(command)
    _, error = child.communicate(timeout=LIMIT_SECONDS)
    if child.returncode != 0:
        raise RuntimeError(f"it did not become ready: {error[-500:]}")
