#!/usr/bin/env python3
"""Break the life of a server in every way we know, a hundred times: is anything left behind?

    python scripts/soak_lifecycle.py                 100 rounds, about 20 minutes on two cores
    python scripts/soak_lifecycle.py --short         one round each of the quick ways, a minute
    python scripts/soak_lifecycle.py --rounds 20 --only "kernel killed" --json soak.json

Each round starts real servers of the practice profile and kills, stops or starves something at
a random moment. After it there may be no process that `rerank-kit status` does not know, and
after `rerank-kit stop` no process, no taken port and no state file at all. Whose process is
whose is read from /proc, not from the kit's own records. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from rerank_kit.memory.show import aligned
from rerank_kit.server.startup import StartupReader

LIMIT_SECONDS = 900.0  # never reached where anything works, however busy the machine
#: A random moment of a start is waited for no longer than this.
MOMENT_SECONDS = 60.0
#: A vLLM whose parent died ends by itself within this time, or it is called an orphan.
OWN_END_SECONDS = 30.0
INTENT_GRACE_SECONDS = 5.0  # registry.py
LAUNCH = [sys.executable, "-m", "rerank_kit", "launch", "--profile", "practice"]


@dataclass
class Round:
    number: int
    scenario: str
    detail: str = ""
    seconds: float = 0.0
    servers_left_for_stop: int = 0
    problems: list[str] = field(default_factory=list)


class Playground:
    """A state folder of its own, and every process that was started with it."""

    def __init__(self, state: Path, dice: random.Random) -> None:
        self.state, self.dice = state, dice
        self.environment = os.environ | {"RERANK_KIT_STATE_DIR": str(state)}
        for name in ("RERANK_URL", "RERANK_API_KEY", "RERANK_KIT_SERVER_MARK"):
            self.environment.pop(name, None)
        self.ports: set[int] = set()
        self.detail: list[str] = []
        self._started: list[subprocess.Popen[str]] = []

    # -- starting things ---------------------------------------------------------------------

    def start(self, command: list[str], **options: object) -> subprocess.Popen[str]:
        environment = {**self.environment, **options.pop("env", {})}  # type: ignore[dict-item]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True,
            stderr=subprocess.PIPE, env=environment, start_new_session=True, **options,
        )  # type: ignore[call-overload]  # fmt: skip
        self._started.append(child)
        return child

    def command(self, *words: str) -> tuple[int, dict]:
        """Run one of our commands; its JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "rerank_kit", *words, "--json"], env=self.environment,
            capture_output=True, text=True, timeout=LIMIT_SECONDS,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout or "{}")

    # -- moments -----------------------------------------------------------------------------

    def wait_for(self, what: Callable[[], object], child: subprocess.Popen[str]) -> bool:
        """False when the child ended first."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not what():
            if child.poll() is not None:
                return False
            if time.monotonic() > deadline:
                raise TimeoutError("a moment that never came")
            time.sleep(0.02)
        return True

    def random_moment(self, child: subprocess.Popen[str]) -> None:
        """Wait for some moment of the start, the early ones more often."""
        kind = self.dice.choice(["at once", "record", "record", "importing", "importing", "stage"])
        if kind == "at once":
            time.sleep(self.dice.uniform(0.0, 1.5))
        else:
            self.wait_for(self.records, child)
        if kind == "importing":
            time.sleep(self.dice.uniform(0.0, 6.0))
        if kind == "stage":
            stage = self.dice.randint(1, 3)
            latest = time.monotonic() + MOMENT_SECONDS
            self.wait_for(
                lambda: self.stage() >= stage or time.monotonic() > latest, child
            )
            kind = f"stage {stage}"
        self.detail.append(kind)

    def records(self) -> list[Path]:
        found = list((self.state / "servers").glob("*.json"))
        self.ports |= {int(path.stem) for path in found if path.stem.isdigit()}
        return found

    def stage(self) -> int:
        logs = sorted((self.state / "logs").glob("*.log"), key=lambda path: path.stat().st_mtime)
        if not logs:
            return 0
        reader = StartupReader(logs[-1], "soak")
        reader.read(0.0)
        return reader._stage

    # -- looking -----------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Everything that runs with this state folder, as /proc tells it."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("RERANK_KIT_STATE_DIR") == str(self.state)
                if not ours and not self._writes_here(process):
                    continue
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def _writes_here(self, process: psutil.Process) -> bool:
        """vLLM's engine overwrites the environment that /proc shows with its title."""
        try:
            return os.readlink(f"/proc/{process.pid}/fd/1").startswith(str(self.state))
        except OSError:
            return False

    def lost(self) -> tuple[list[str], int]:
        """(servers that `status` does not know, number that it knows)."""
        _, told = self.command("status")
        known = {server["pid"] for server in told["servers"]}
        problems = []
        for process in self.processes():
            try:
                if os.getpgid(process.pid) not in known:
                    problems.append(f"lost: pid {process.pid} {_words(process)}")
            except (ProcessLookupError, psutil.Error):
                continue
        return problems, len(known)

    def end_helpers(self) -> None:
        """What the round itself has started must not be taken for something left behind."""
        for child in self._started:
            if child.poll() is None:
                child.kill()
            child.communicate(timeout=60)
        self._started.clear()

    def untidy(self) -> list[str]:
        """What is left after a stop."""
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        problems = [f"orphan: pid {one.pid} {_words(one)}" for one in self.processes()]
        problems += [f"port {port} is not free" for port in self.ports if not _is_free(port)]
        if list((self.state / "servers").glob("*.json")):
            # A launcher killed before it started anything leaves the intent, which the next look
            # after its grace removes (registry.py).
            time.sleep(INTENT_GRACE_SECONDS + 0.5)
            self.command("status")
        left = [path for path in self.state.rglob("*") if path.suffix in (".json", ".tmp")]
        keep = ("start_times.json", "remedies.json")
        problems += [f"state: {path.name}" for path in left if path.name not in keep]
        return problems

    def check(self, *, expect_nothing: bool) -> tuple[list[str], int]:
        """After a round: is everything that lives known, and is nothing left after a stop?"""
        self.end_helpers()
        self.records()
        if expect_nothing:
            deadline = time.monotonic() + OWN_END_SECONDS
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.2)
        problems, known = self.lost()
        if expect_nothing:
            problems += [f"still there: {_words(one)}" for one in self.processes()]
        status, told = self.command("stop")
        if status != 0:
            problems.append(f"stop: exit {status}, {told}")
        problems += self.untidy()
        for process in self.processes():  # the next round must not pay for this one
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.ports.clear()
        return problems, known


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:120]
    except psutil.Error:
        return "(gone meanwhile)"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# -- the ways to break it; each returns True when nothing at all may be left ------------------


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
    manager.start_kernel(env=play.environment, cwd=str(play.state.parent))
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


def stale_state(play: Playground) -> bool:
    """After a reboot: records of processes that are gone, or whose pids belong to others."""
    folder = play.state / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    common = {
        "url": "http://127.0.0.1:1", "profile": "practice", "model": "m", "served_name": "m",
        "fingerprint": "f", "log_path": "none", "state": "ready", "mark": "0" * 32,
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


def worker_killed(play: Playground) -> bool:
    """A server with a worker process of its own (as with several GPUs) loses it."""
    _make_ready(play, [*LAUNCH, "--", "--distributed-executor-backend", "mp"])
    _, told = play.command("status")
    workers = [
        process
        for process in psutil.Process(told["pid"]).children(recursive=True)
        if "spawn_main" in _words(process) or "VLLM" in process.name()
    ]
    if not workers:
        raise RuntimeError("the server has no worker to kill")
    play.dice.choice(workers).kill()
    return False  # vLLM may stay up without it; it must be known then


def _make_ready(play: Playground, command: list[str]) -> None:
    child = play.start(command)
    _, error = child.communicate(timeout=LIMIT_SECONDS)
    if child.returncode != 0:
        raise RuntimeError(f"it did not become ready: {error[-500:]}")


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


#: (name, what happens, share of the rounds). Those that wait for a server to serve are rare.
SCENARIOS: dict[str, tuple[Callable[[Playground], bool], int]] = {
    "launcher interrupted": (launcher_interrupted, 20),
    "launcher killed": (launcher_killed, 18),
    "killed at the worst moment": (killed_at_the_worst_moment, 16),
    "kernel killed": (kernel_killed, 8),
    "parent killed": (parent_killed, 8),
    "stopped during the start": (stopped_during_the_start, 8),
    "two at once": (two_at_once, 6),
    "stale state, reused pid": (stale_state, 6),
    "full disk": (full_disk, 4),
    "wrong flag": (wrong_flag, 2),
    "main process killed": (main_process_killed, 2),
    "worker killed": (worker_killed, 1),
    "kernel gone, next attaches": (kernel_gone_then_attached, 1),
}
SHORT = ("killed at the worst moment", "launcher interrupted", "launcher killed",
         "stopped during the start", "stale state, reused pid", "parent killed")  # fmt: skip


def plan(rounds: int, only: str | None, short: bool, dice: random.Random) -> list[str]:
    """Which scenario each round plays: by share, every one at least once when there is room."""
    if only:
        return [only] * rounds
    if short:
        return list(SHORT)
    whole = [name for name, (_, share) in SCENARIOS.items() for _ in range(share)]
    chosen = [whole[place * len(whole) // rounds] for place in range(rounds)]
    dice.shuffle(chosen)
    return chosen


def play_rounds(names: list[str], state: Path, dice: random.Random) -> Iterator[Round]:
    for number, name in enumerate(names, 1):
        play = Playground(state, dice)
        one = Round(number, name)
        started = time.monotonic()
        expect_nothing = False
        try:
            expect_nothing = SCENARIOS[name][0](play)
        except Exception as error:
            one.problems.append(f"{type(error).__name__}: {error}")
        problems, one.servers_left_for_stop = play.check(expect_nothing=expect_nothing)
        one.problems += problems
        one.detail, one.seconds = ", ".join(play.detail), round(time.monotonic() - started, 1)
        yield one


def table(rounds: list[Round]) -> str:
    rows = [["scenario", "rounds", "left for stop", "problems", "seconds"]]
    for name in SCENARIOS:
        of_it = [one for one in rounds if one.scenario == name]
        if of_it:
            rows.append([
                name, str(len(of_it)), str(sum(one.servers_left_for_stop for one in of_it)),
                str(sum(len(one.problems) for one in of_it)),
                f"{sum(one.seconds for one in of_it):.0f}",
            ])  # fmt: skip
    problems = sum(len(one.problems) for one in rounds)
    rows.append(["all", str(len(rounds)), "", str(problems),
                 f"{sum(one.seconds for one in rounds):.0f}"])  # fmt: skip
    return "\n".join(aligned(rows, numbers=range(1, 5)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="default 100")
    parser.add_argument("--seed", type=int, default=None, help="play the same rounds again")
    parser.add_argument("--only", choices=list(SCENARIOS), help="one scenario")
    parser.add_argument("--short", action="store_true", help="one round each of the quick ones")
    parser.add_argument("--json", metavar="FILE", help="write every round to FILE")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    names = plan(options.rounds, options.only, options.short, dice)
    folder = Path(tempfile.mkdtemp(prefix="rerank-kit-soak-"))
    print(f"{len(names)} rounds, seed {seed}", flush=True)
    rounds = []
    try:
        for one in play_rounds(names, folder / "state", dice):
            rounds.append(one)
            said = "; ".join(one.problems) or "clean"
            print(f"{one.number:4}  {one.scenario} ({one.detail}), {one.seconds:.0f} s: {said}",
                  flush=True)  # fmt: skip
    finally:
        report = {"seed": seed, "rounds": [asdict(one) for one in rounds]}
        if options.json:
            Path(options.json).write_text(json.dumps(report, indent=1), encoding="utf-8")
    print("\n" + table(rounds))
    bad = [one for one in rounds if one.problems]
    if not bad:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"logs and state: {folder}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
