"""Use the kit on a machine that one can log in to: launch a server there, and stop it.

The other side runs far_side.py; order and answers travel through one ssh login.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from typing import Any

from rerank_kit.errors import LaunchError, RerankKitError, SetupError, UnreachableError
from rerank_kit.remote.far_side import CANCEL
from rerank_kit.remote.rented import rented_machines
from rerank_kit.remote.ssh_command import SshTarget
from rerank_kit.remote.tunnel import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    connection_options,
    last_line,
    login_failed,
    need_ssh,
)

COURSE = "rerank_kit"
#: sh's answer of ours when no Python there has the kit.
_NO_KIT = 94
#: ssh's own exit status for a line that broke or never stood.
_SSH_FAILED = 255
_CANCEL_SECONDS = 90.0

Say = Callable[[str], None]


class RemoteKit:
    """The kit at the other end of a login. folder: the course's folder there, or a Python there
    that has the package; "" looks in the usual places. ask: ssh may ask for a password."""

    def __init__(self, target: SshTarget, *, folder: str = "", ask: bool = False) -> None:
        need_ssh()
        self.target = target
        self.folder = folder
        script = f"sh -c {shlex.quote(_find_and_run(folder))}"
        self.command = ["ssh", "-T", *connection_options(ask), *target.words(), script]
        self._began = self._ended_there = False

    @property
    def stop_command(self) -> str:
        """What a person types to stop the server there."""
        words = ["rerank-kit", "stop", "--on", shlex.join(["ssh", *self.target.words()])]
        return shlex.join([*words, *(["--kit-there", self.folder] if self.folder else [])])

    def launch(self, order: dict[str, Any], *, tries: int, say: Say) -> dict[str, Any]:
        """Start a server there, or join one; the facts of it once it scores right.

        A line that breaks is opened again, at most `tries` times in a row; the start there goes
        on meanwhile. Ctrl-C ends the start there too. Raises LaunchError, SetupError,
        UnreachableError, also for a Ctrl-C that the other side could not be told of, and what
        the other side reports.
        """
        self._began = self._ended_there = False
        try:
            return self._launch({"mark": secrets.token_hex(8)} | order, tries, say)
        except KeyboardInterrupt:
            if self._began and not self._ended_there:
                raise self._goes_on("Interrupted while the line was broken.") from None
            raise

    def _launch(self, order: dict[str, Any], tries: int, say: Say) -> dict[str, Any]:
        """The same order at every login: its mark tells the other side what is to be joined."""
        pause, broken = FIRST_PAUSE_SECONDS, 0
        while True:
            try:
                with contextlib.closing(self._answers({"do": "launch"} | order)) as answers:
                    for message in answers:
                        broken, pause, self._began = 0, FIRST_PAUSE_SECONDS, True
                        if "ready" in message:
                            ready: dict[str, Any] = message["ready"]
                            return ready
                        words = _in_words(message)
                        if words:
                            say(words)
                raise LaunchError("The other side ended without an answer.")
            except UnreachableError as error:
                broken += 1
                if not self._began:
                    raise
                if broken > tries:
                    raise self._goes_on(error.message, error.evidence) from None
                say(f"{error.message} The start there goes on; logging in again "
                    f"({broken} of {tries})")  # fmt: skip
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def stop(self, port: int | None = None) -> dict[str, Any]:
        """Stop the servers of the kit there, or the one on this port."""
        for message in self._answers({"do": "stop", "port": port}):
            if "stopped" in message:
                return message
        raise UnreachableError("The other side did not say whether the server has stopped.")

    def _answers(self, order: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """One login: an order, and the messages that answer it."""
        with tempfile.TemporaryFile() as words, subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words,
            text=True, encoding="utf-8", errors="replace",
            # Ctrl-C is for us: we tell the other side, and need the line for that.
            preexec_fn=_ignore_ctrl_c if os.name == "posix" else None,
        ) as child:  # fmt: skip
            over = self._ended_there = False
            try:
                assert child.stdin is not None and child.stdout is not None
                with contextlib.suppress(BrokenPipeError):  # ssh says below why it ended
                    child.stdin.write(json.dumps(order) + "\n")
                    child.stdin.flush()
                for line in child.stdout:
                    message = _read(line)
                    over = bool({"ready", "stopped", "error"} & message.keys())
                    if "error" in message:
                        raise _error(message["error"])
                    if message:
                        yield message
                    if over:
                        return
                status = child.wait()
                words.seek(0)
                raise self._why_it_ended(status, last_line(words.read().decode("utf-8", "replace")))
            except (KeyboardInterrupt, GeneratorExit):  # here, or in who reads the messages
                if not over:
                    self._ended_there = _cancel(child)
                raise
            finally:
                _end(child)

    def _goes_on(self, what: str, evidence: str = "") -> UnreachableError:
        """A start that nobody can be told of costs money: say how to end it."""
        return UnreachableError(
            f"{what} The start on {self.target.host} goes on.", evidence=evidence,
            hint=f"the same command again joins it; to end it: {self.stop_command}",
        )  # fmt: skip

    def _why_it_ended(self, status: int, said: str) -> RerankKitError:
        if status == _NO_KIT:
            return self._no_kit()
        if status == _SSH_FAILED:
            return login_failed(self.target, said)
        return LaunchError(
            f"The kit on {self.target.host} ended with status {status}.",
            evidence=said, hint="rerank-kit launch, there, shows more",
        )  # fmt: skip

    def _no_kit(self) -> SetupError:
        login = shlex.join(["ssh", *self.target.words()])
        where = f"in {self.folder} " if self.folder else ""
        return SetupError(
            f"The kit is not found {where}on {self.target.host}.",
            hint="name its folder there (--kit-there), or bring it, from the course's folder "
            f"here:\n    tar -cz --exclude './.*' . | {login} "
            f"'mkdir -p {COURSE} && tar -xz -C {COURSE} && "
            f"bash {COURSE}/scripts/start.sh --setup-only'",
        )


def _find_and_run(folder: str) -> str:
    """The shell script that finds a Python with the kit and becomes far_side.py."""
    run = "-m rerank_kit.remote.far_side"
    usual = [one.data_disk for one in rented_machines().values() if one.data_disk]
    places = [f'"$HOME"/{COURSE}', *(f"{disk}/{COURSE}" for disk in usual), f"/opt/{COURSE}"]
    if folder:
        places = [f'"$HOME"/{shlex.quote(folder[2:])}' if folder.startswith("~/")
                  else shlex.quote(folder)]  # fmt: skip
    script = (
        f"for p in {' '.join(places)}; do "
        f'if [ -x "$p/.venv/bin/python" ]; then cd "$p" && exec .venv/bin/python {run}; fi; '
        f'if [ -f "$p" ] && [ -x "$p" ]; then exec "$p" {run}; fi; done; '
    )
    if not folder:
        script += (
            "for p in python3 python; do "
            f'if "$p" -c "import rerank_kit" 2>/dev/null; then exec "$p" {run}; fi; done; '
        )
    return f"{script}exit {_NO_KIT}"


def _ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cancel(child: subprocess.Popen[str]) -> bool:
    """Ask the other side to end what it began, and wait until it has done so."""
    with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
        assert child.stdin is not None
        child.stdin.write(f"{CANCEL}\n")
        child.stdin.flush()
        return child.wait(_CANCEL_SECONDS) == 0
    return False


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(5)
            return
        child.kill()


def _read(line: str) -> dict[str, Any]:
    """A message of the other side; {} for what a login shell prints (a banner, a greeting)."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _error(body: dict[str, Any]) -> RerankKitError:
    """The other side's error, as one of ours."""
    known: list[type[RerankKitError]] = [SetupError, LaunchError, *LaunchError.__subclasses__()]
    kinds = {one.kind: one for one in known}
    kind = kinds.get(str(body.get("kind")), RerankKitError)
    return kind(
        f"There: {body.get('message', '')}", evidence=str(body.get("evidence", "")),
        hint=str(body.get("hint", "")),
    )  # fmt: skip


def _in_words(message: dict[str, Any]) -> str:
    """A line for people; "" for what they need not see."""
    if "finding" in message:
        one = message["finding"]
        return f"there: [fix] {one.get('detail', '')}\n       -> {one.get('fix', '')}"
    if "profile" in message:
        return f"there: profile {message['profile']} ({message.get('why', '')})"
    if "remedy" in message:
        return f"there: {message['remedy']}"
    if "progress" in message:
        now = message["progress"]
        left = now.get("seconds_left")
        more = "" if left is None or left < 1 else f", about {left:.0f} s left"
        return f"there: {now.get('percent')} % {now.get('stage')}{more}"
    return ""
