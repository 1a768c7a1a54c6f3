"""An SSH tunnel to a server on another machine: opened, checked, opened again, closed."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import requests

from rerank_kit import machine
from rerank_kit.errors import InputError, PortInUseError, SetupError, UnreachableError
from rerank_kit.remote.ssh_command import SshTarget

#: Logging in through a jump host on a slow line, a password typed by hand included.
OPEN_SECONDS = 120.0
CONNECT_SECONDS = 20
#: A line that died silently is noticed after 3 x 15 s.
ALIVE_SECONDS, ALIVE_COUNT = 15, 3
ASK_SECONDS = 5.0
#: Pauses before it is opened again double from the first to the last of these.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
END_SECONDS = 5.0


def need_ssh() -> None:
    """Raises SetupError where ssh is not installed."""
    if shutil.which("ssh") is None:
        raise SetupError("ssh is not installed.", hint="apt-get install openssh-client")


def connection_options(ask: bool) -> list[str]:
    """ssh's options for every login of ours. ask: ssh may ask for a password or about a new host
    key."""
    return [
        "-o", f"ServerAliveInterval={ALIVE_SECONDS}",
        "-o", f"ServerAliveCountMax={ALIVE_COUNT}",
        "-o", f"ConnectTimeout={CONNECT_SECONDS}",
        "-o", f"BatchMode={'no' if ask else 'yes'}",
        # A shared connection would answer for us, and stay when we end.
        "-o", "ControlMaster=no", "-o", "ControlPath=none",
    ]  # fmt: skip


def tunnel_command(
    target: SshTarget, local_port: int, remote_port: int, *, ask: bool = True
) -> list[str]:
    """The ssh command of a tunnel."""
    return [
        "ssh", "-N", "-T",
        "-L", f"127.0.0.1:{local_port}:127.0.0.1:{remote_port}",
        "-o", "ExitOnForwardFailure=yes",  # else ssh stays without the tunnel
        *connection_options(ask),
        *target.words(),
    ]  # fmt: skip


def login_failed(target: SshTarget, said: str) -> UnreachableError:
    """What to tell when ssh ended by itself. said: its last line."""
    hint = f"log in without the kit first: ssh {shlex.join(target.words())}"
    if target.host == "ssh.runpod.io":  # docs.runpod.io/pods/configuration/use-ssh
        hint = (
            "take the login of RunPod's page that goes to the public IP (over exposed TCP): "
            "the basic one carries no files, and no tunnel"
        )
    return UnreachableError(f"The login to {target.login} failed.", evidence=said, hint=hint)


def last_line(text: str) -> str:
    """The last line that ssh said, without control characters of the other side."""
    lines = ["".join(filter(str.isprintable, line)) for line in text.splitlines()]
    return next((line[-300:] for line in reversed(lines) if line.strip()), "")


class Tunnel:
    """A tunnel, as long as the `with` lasts. local_port: None takes remote_port where it is free
    here, else any free one. answers_seconds: how long the server behind it may take to answer.

    Raises SetupError without ssh, UnreachableError when the login fails or nothing answers.
    """

    def __init__(
        self,
        target: SshTarget,
        *,
        local_port: int | None = None,
        remote_port: int = 8000,
        ask: bool = False,
        answers_seconds: float = 30.0,
    ) -> None:
        if not 0 < remote_port < 65536:
            raise InputError(f"{remote_port} is no port.")
        need_ssh()
        if local_port is not None and not machine.port_is_free(local_port):
            raise PortInUseError(
                f"Port {local_port} is taken on this machine.", hint="leave --port out: a free one"
            )
        self.target = target
        self.local_port = local_port or machine.free_port(remote_port)
        self.remote_port = remote_port
        self.url = f"http://127.0.0.1:{self.local_port}"
        self.command = tunnel_command(target, self.local_port, remote_port, ask=ask)
        self.times_reopened = 0
        self._answers_seconds = answers_seconds
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the internet does not know this port
        self._child: subprocess.Popen[bytes] | None = None
        number, name = tempfile.mkstemp(prefix="rerank-kit-tunnel-")
        os.close(number)
        self._words = Path(name)  # what ssh says
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    @property
    def is_open(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def server_answers(self) -> bool:
        """Does anything speak HTTP at the other end? A demand for a key is an answer too."""
        try:
            self._session.get(f"{self.url}/health", timeout=ASK_SECONDS)
        except requests.RequestException:
            return False
        return True

    def keep_open(
        self, tries: int = 10, say: Callable[[str], None] = lambda text: None
    ) -> None:
        """Until Ctrl-C: whenever the line breaks, open it again, at most `tries` times in a row.
        Raises UnreachableError when they are used up."""
        while True:
            while self.is_open:
                time.sleep(0.5)
            self._reopen(tries, say)

    def close(self) -> None:
        """End ssh; a second call is harmless."""
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._session.close()
        self._words.unlink(missing_ok=True)

    def _reopen(self, tries: int, say: Callable[[str], None]) -> None:
        pause = FIRST_PAUSE_SECONDS
        for number in range(1, tries + 1):
            say(f"the line broke ({self._last_words() or 'ssh said nothing'}); "
                f"opening it again ({number} of {tries})")  # fmt: skip
            try:
                self._open()
            except UnreachableError as error:
                if number == tries:
                    raise
                say(error.message)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                self.times_reopened += 1
                say(f"open again: {self.url}")
                return

    def _open(self) -> None:
        """Start ssh, and wait until the server answers through it."""
        with self._words.open("wb") as words:
            # In our own process group: ssh must be able to ask for a password on the terminal.
            self._child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=words, stderr=words
            )
        opened_at: float | None = None
        started = time.monotonic()
        while True:
            now = time.monotonic()
            if not self.is_open:
                raise login_failed(self.target, self._last_words())
            if opened_at is None and not machine.port_is_free(self.local_port):
                opened_at = now
            if opened_at is not None and self.server_answers():
                return
            if opened_at is not None and now - opened_at > self._answers_seconds:
                self._end_child()
                raise UnreachableError(
                    f"The tunnel stands, but nothing answers on port {self.remote_port} of "
                    f"{self.target.host}.",
                    evidence=self._last_words(),
                    hint="start the server there (rerank-kit launch), or name its port: "
                    "--remote-port",
                )
            if now - started > OPEN_SECONDS:
                self._end_child()
                raise UnreachableError(
                    f"The login to {self.target.login} took more than {OPEN_SECONDS:.0f} s.",
                    evidence=self._last_words(),
                )
            time.sleep(0.1)

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(END_SECONDS)

    def _last_words(self) -> str:
        try:
            return last_line(self._words.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return ""
