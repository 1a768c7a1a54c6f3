"""Who starts a server is interrupted, killed, hung up or not alone. Each way returns True when
nothing at all may be left of its server."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time

import psutil

from soak.playground import LAUNCH, LIMIT_SECONDS, Playground


def launcher_interrupted(play: Playground) -> bool:
    number = play.dice.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    child = play.start(LAUNCH)
    play.random_moment(child)
    play.detail.append(number.name)
    child.send_signal(number)
    child.communicate(timeout=LIMIT_SECONDS)
    return True


def launcher_killed(play: Playground) -> bool:
    child = play.start(LAUNCH)
    play.random_moment(child)
    child.kill()
    return False


#: A launcher that kills itself at a chosen line of the start.
_AT_WORST = """
import os, signal, subprocess, sys
from rerank_kit import cli, registry
from rerank_kit.server import lifecycle, process_group
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
where = sys.argv[1]
if where == "before the process": lifecycle._child = die
if where == "process, no pid written": process_group.adopt = die
if where == "while the pid is written":
    replace = os.replace
    os.replace = lambda a, b: die() if registry.read_json_object(b) else replace(a, b)
if where == "while it waits": lifecycle.wait_until_it_answers = die
sys.exit(cli.main(["launch", "--profile", "practice"]))
"""
WORST = ("before the process", "process, no pid written", "while the pid is written",
         "while it waits")  # fmt: skip


def killed_at_the_worst_moment(play: Playground) -> bool:
    where = play.dice.choice(WORST)
    play.detail.append(where)
    child = play.start([sys.executable, "-c", _AT_WORST, where])
    child.communicate(timeout=LIMIT_SECONDS)
    if child.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the launcher was to die {where!r}, and ended with {child.returncode}")
    if where == "before the process":
        time.sleep(5.5)  # an intent without a process is forgotten after some seconds
    return where == "before the process"


def kernel_killed(play: Playground) -> bool:
    """A real notebook kernel, killed as Jupyter's restart of a hung kernel does."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(
        env=play.environment, cwd=str(play.state.parent),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        client.execute("from rerank_kit import launch; server = launch('practice')")
        kernel = play.start(["sleep", "600"], env={"RERANK_KIT_STATE_DIR": ""})
        play.random_moment(kernel)
    finally:
        manager.shutdown_kernel(now=True)
        client.stop_channels()
        manager.cleanup_resources()
    return False


def parent_killed(play: Playground) -> bool:
    """The terminal is closed: its shell is killed, the launcher is hung up."""
    line = " ".join(LAUNCH) + " & echo $! > " + str(play.state.parent / "pid") + "; wait"
    pid_file = play.state.parent / "pid"
    pid_file.unlink(missing_ok=True)
    shell = play.start(["bash", "-c", line])
    play.wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), shell)
    launcher = psutil.Process(int(pid_file.read_text()))
    play.random_moment(shell)
    shell.kill()
    if play.dice.random() < 0.5:
        play.detail.append("no hang-up")
        with contextlib.suppress(psutil.Error):
            launcher.kill()
        return False
    with contextlib.suppress(psutil.Error):
        launcher.send_signal(signal.SIGHUP)
        launcher.wait(timeout=LIMIT_SECONDS)
    return True


def stopped_during_the_start(play: Playground) -> bool:
    child = play.start(LAUNCH)
    play.wait_for(play.records, child)
    time.sleep(play.dice.uniform(0.0, 5.0))
    play.command("stop")
    _, error = child.communicate(timeout=LIMIT_SECONDS)
    if child.returncode == 0 or "stopped by somebody" not in error:
        raise RuntimeError(f"the launch ended with {child.returncode}: {error[-300:]}")
    return True


def two_at_once(play: Playground) -> bool:
    """Two notebooks start at the same time; the first one is interrupted: the second one must
    not be left with a server that is gone, and there is never more than one."""
    one, two = play.start(LAUNCH), play.start(LAUNCH)
    play.wait_for(play.records, one)
    time.sleep(play.dice.uniform(1.0, 4.0))
    if len(play.records()) != 1:
        raise RuntimeError("two servers were started")
    first = play.dice.choice([one, two])
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=LIMIT_SECONDS)
    time.sleep(play.dice.uniform(0.5, 3.0))
    other = two if first is one else one
    if other.poll() is not None:
        raise RuntimeError(f"the other launch failed as well: {other.communicate()[1][-300:]}")
    other.send_signal(signal.SIGINT)
    other.communicate(timeout=LIMIT_SECONDS)
    return True


def kernel_gone_then_attached(play: Playground) -> bool:
    """The notebook that started it is killed when it serves; the next one finds and ends it."""
    code = "from rerank_kit import launch; launch('practice'); open({!r}, 'w'); input()"
    flag = play.state.parent / "up"
    flag.unlink(missing_ok=True)
    child = play.start([sys.executable, "-c", code.format(str(flag)).replace("input()", (
        "import time; time.sleep(600)"))])  # fmt: skip
    if not play.wait_for(flag.exists, child):
        raise RuntimeError("the first notebook failed")
    child.kill()
    child.communicate()
    code = "from rerank_kit import launch; s = launch('practice'); assert s.stop().stopped"
    done = subprocess.run([sys.executable, "-c", code], env=play.environment, check=False,
                          capture_output=True, text=True, timeout=LIMIT_SECONDS)  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-300:])
    return True
