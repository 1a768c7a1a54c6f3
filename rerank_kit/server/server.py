"""A handle on a running server: where it is, how it does, and how to stop it."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from rerank_kit import machine
from rerank_kit.client import Reranker
from rerank_kit.errors import SetupError
from rerank_kit.language import localised
from rerank_kit.registry import ServerRecord
from rerank_kit.server.process_group import end_group
from rerank_kit.server.settings import ServerSettings
from rerank_kit.server.startup import log_tail

NOT_RUNNING = "it was not running any more"


@dataclass(frozen=True)
class StopReport:
    """What stop() did: stopped, left_running (somebody else started it), or neither; details is
    the full story. survivors: processes that did not end."""

    profile: str
    stopped: bool
    details: str
    survivors: tuple[int, ...] = ()
    left_running: bool = False

    def __repr__(self) -> str:
        """In the language of RERANK_KIT_LANGUAGE, without numbers that differ from run to run."""
        if self.left_running:
            said = f"{self.profile} server left running: it was started elsewhere. "
            said += "To end it: rerank-kit stop"
        elif self.stopped and self.details.endswith(" free"):
            said = f"{self.profile} server stopped: its memory and its port are free."
        elif self.details == NOT_RUNNING:
            said = f"{self.profile} server was not running any more."
        else:
            said = f"{self.details[:1].upper()}{self.details[1:]}."
        return localised(said)

    __str__ = __repr__


class Server:
    """One server, ours or somebody else's (profile remote). Use launch() to get one."""

    def __init__(
        self,
        url: str,
        profile: str,
        model: str,
        *,
        settings: ServerSettings | None = None,
        record: ServerRecord | None = None,
    ) -> None:
        self.url = url
        self.profile = profile
        self.model = model
        self.settings = settings
        self.record = record
        self._stopped = False

    def __repr__(self) -> str:
        return f"Server(profile={self.profile!r}, model={self.model!r})"

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def owned(self) -> bool:
        """True when stop() here really ends it: this process started it, or the notebook that
        did is gone (a kernel that was restarted)."""
        record = self.record
        if record is None or record.owner_pid == 0:
            return False
        return record.owner_pid == os.getpid() or not record.owner_is_alive()

    def reranker(self) -> Reranker:
        """A client of this server."""
        return Reranker(self.url)

    def command_line(self, port: int | str = 8000) -> str:
        """The `vllm serve` command that starts the same server in a terminal."""
        if self.settings is None:
            return f"# a server that was not started here: {self.profile}"
        return self.settings.command_line(port)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of the server's log (empty for a remote server)."""
        return log_tail(Path(self.record.log_path), lines) if self.record else ""

    def stop(self, *, force: bool = False) -> StopReport:
        """Stop the server if it is ours; a second call is harmless. force stops it also when
        a notebook or a terminal elsewhere started it."""
        if self.record is None:
            return StopReport(self.profile, False, "not started by rerank_kit: left alone")
        if self._stopped or not (self.record.is_alive() or self.record.processes()):
            self.record.forget()
            return StopReport(self.profile, False, NOT_RUNNING)
        if not (force or self.owned):
            said = f"left running: {_owner(self.record)} owns it"
            return StopReport(self.profile, False, said, left_running=True)
        self._stopped = True
        return stop_record(self.record)


#: The last word of ours in the log of a server that was stopped.
STOPPED_ON_REQUEST = "rerank-kit: stopped on request"


def stop_record(record: ServerRecord) -> StopReport:
    """End the server of a record whatever its owner, and prove that it is gone."""
    started = time.monotonic()
    record.state = "stopping"  # a launch that waits for this server sees that it did not fail
    with contextlib.suppress(SetupError, OSError):  # also with a full disk
        if record.is_written():
            record.save()
            _last_word(record)
    # A group is named by the pid of its first process: once that is gone, the number may belong
    # to somebody else, and only the mark says who is ours.
    group = record.pid if record.is_alive() else 0
    survivors = tuple(end_group(group, also=record.processes()))
    if survivors:
        text = f"processes {', '.join(map(str, survivors))} did not end: kill -9 them"
        return StopReport(record.profile, False, text, survivors)
    record.forget()
    port = "free" if machine.port_is_free(record.port) else "held by another program"
    text = (
        f"stopped in {time.monotonic() - started:.1f} s: no process left, port {record.port} {port}"
    )
    return StopReport(record.profile, True, text)


def _last_word(record: ServerRecord) -> None:
    """At the end of a log that is there; a log that is gone is not made anew."""
    log = os.open(record.log_path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(log, f"{STOPPED_ON_REQUEST}\n".encode())
    finally:
        os.close(log)


def _owner(record: ServerRecord) -> str:
    if record.owner_pid == 0:
        return "a terminal (rerank-kit stop ends it)"
    try:
        return f"{psutil.Process(record.owner_pid).name()} (pid {record.owner_pid})"
    except psutil.Error:
        return f"pid {record.owner_pid}"
