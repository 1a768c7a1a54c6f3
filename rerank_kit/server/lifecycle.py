"""Start a server, or attach to the one that already runs; wait until it scores, never for ever."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from rerank_kit import machine, registry
from rerank_kit.client import Reranker
from rerank_kit.errors import LaunchError, LaunchStopped, LaunchTimeout
from rerank_kit.registry import ServerRecord
from rerank_kit.server import interrupts, ports, process_group, progress
from rerank_kit.server.ladder import Situation
from rerank_kit.server.profiles import choose_profile, settings_for
from rerank_kit.server.recovery import Attempt, Remedy, RemedyCallback, launch_with_remedies
from rerank_kit.server.server import Server, stop_record
from rerank_kit.server.settings import ServerSettings
from rerank_kit.server.startup import Progress, ProgressCallback
from rerank_kit.server.waiting import check_known_pairs, wait_until_it_answers

#: A practice start takes 20 s on two idle cores; these are limits, not expectations. Real
#: models may first have to be downloaded (0.6B: 1.2 GB, 8B: 16.4 GB).
TIMEOUT_SECONDS = {"practice": 300.0, "cpu": 1800.0, "gpu": 3600.0}
KEPT_LOGS = 20


def launch(
    profile: str = "auto",
    model: str | None = None,
    *,
    port: int | None = None,
    timeout_seconds: float | None = None,
    extra_args: Sequence[str] = (),
    on_progress: ProgressCallback | None = None,
    owner_is_terminal: bool = False,
    score_check: bool = True,
    recover: bool = False,
    on_remedy: RemedyCallback | None = None,
) -> Server:
    """A ready server of this profile: the one that already runs, or a new one.

    port: None takes a free one. timeout_seconds: None takes the profile's limit.
    extra_args: vLLM flags, passed on last. on_progress: called a few times a second; None
    shows a bar. owner_is_terminal: the server outlives this process until an explicit stop.
    score_check: False accepts a server whose known pairs score wrongly (to study one).
    recover: on a failure that a setting cures, change the one that costs least, say so, try
    again. on_remedy: called with each such change; None prints a sentence to stderr.
    Raises LaunchError with the log's tail (nothing is left running then), LaunchTimeout,
    PortInUseError, InputError, SetupError.
    """
    chosen, _ = choose_profile(profile)
    if chosen == "remote":
        return _remote()
    limit = timeout_seconds or TIMEOUT_SECONDS[chosen]

    def start(attempt: Attempt) -> Server:
        settings = settings_for(chosen, attempt.model, attempt.arguments)
        shared = (limit, on_progress, owner_is_terminal, score_check)
        try:
            return _start_or_attach(settings, port, *shared)
        except LaunchError as error:
            lost_a_race = getattr(error.diagnosis, "family", "") == "port_in_use"
            if port is not None or not lost_a_race:
                raise
            if on_remedy is not None:
                why = "somebody took it at the last moment"
                on_remedy(Remedy(error.diagnosis, error.message, "another port", why))
        # A stranger took the port between our look and vLLM's bind: once more, elsewhere.
        return _start_or_attach(settings, machine.free_port(), *shared)

    def situation(attempt: Attempt) -> Situation:
        settings = settings_for(chosen, attempt.model, attempt.arguments)
        return Situation(settings, tuple(machine.gpus()), model_is_free=model is None)

    wanted = Attempt(model, tuple(extra_args))
    if not recover:
        return start(wanted)
    cards = " + ".join(gpu.name for gpu in machine.gpus()) or "CPU"
    name = f"{chosen} {model or 'its own model'} on {cards}"
    return launch_with_remedies(start, situation, name, wanted, on_remedy)


def launch_settings(
    settings: ServerSettings,
    *,
    port: int | None = None,
    timeout_seconds: float | None = None,
    on_progress: ProgressCallback | None = None,
    score_check: bool = True,
) -> Server:
    """A ready server with exactly these settings, for who compares settings (tuning). The
    arguments and errors are those of launch()."""
    limit = timeout_seconds or TIMEOUT_SECONDS[settings.profile]
    return _start_or_attach(settings, port, limit, on_progress, False, score_check)


def _start_or_attach(
    settings: ServerSettings,
    port: int | None,
    limit: float,
    on_progress: ProgressCallback | None,
    owner_is_terminal: bool,
    score_check: bool,
    may_start_again: bool = True,
) -> Server:
    with _stopped_on_failure() as started:
        with _launch_lock(limit):
            record = _running(settings, port)
            if record is None:
                with interrupts.held_back():
                    record = _start(settings, port, owner_is_terminal)
                    started.append(record)
            elif not owner_is_terminal:
                _adopt_if_orphaned(record)
        ready_already = record.state == "ready"
        with progress.shown(on_progress, f"{settings.profile} server", not ready_already) as report:
            try:
                reranker = wait_until_it_answers(record, limit, report)
            except LaunchStopped:
                if started or not may_start_again:
                    raise
                # Another launch had begun it and was interrupted: begin it anew, as our own.
                return _start_or_attach(
                    settings, port, limit, report, owner_is_terminal, score_check, False
                )
            if score_check:
                check_known_pairs(record, reranker, settings)
            _mark_ready(record)
            report(Progress("ready", 100.0, 0.0, 0.0))
    return Server(
        record.url, settings.profile, settings.served_name, settings=settings, record=record
    )


def _remote() -> Server:
    reranker = Reranker(os.environ["RERANK_URL"])
    return Server(reranker.url, "remote", reranker.model)


def _running(settings: ServerSettings, port: int | None) -> ServerRecord | None:
    """The living server that a launch with these settings would start again. What is left of
    one whose main process died, or whose stop was cut short, is ended: it holds memory that the
    new one needs."""
    for record in registry.living():
        if record.fingerprint != settings.fingerprint or port not in (None, record.port):
            continue
        if record.state not in ("broken", "stopping"):
            return record
        stop_record(record)
    return None


def _adopt_if_orphaned(record: ServerRecord) -> None:
    """After a kernel restart the server's owner is gone: whoever attaches first owns it."""
    if record.owner_pid and not record.owner_is_alive():
        record.owner_pid, record.owner_created = os.getpid(), psutil.Process().create_time()
        record.save()


def _start(settings: ServerSettings, port: int | None, owner_is_terminal: bool) -> ServerRecord:
    chosen_port, port_claim = ports.claim(port)
    try:
        log_path = registry.new_log("server", f"{chosen_port}.log", keep=KEPT_LOGS)
        record = _intent(settings, chosen_port, log_path, owner_is_terminal)
        record.save()  # before the process exists: from here on it can be found by its mark
        child = _child(settings, record, port_claim)
    finally:
        os.close(port_claim)
    process_group.adopt(child)
    try:
        record.pid, record.created = child.pid, psutil.Process(child.pid).create_time()
        record.save()
    except BaseException:  # the disk may be full: a server nobody can find must not live
        process_group.end_group(child.pid)
        record.forget()
        raise
    return record


def _child(
    settings: ServerSettings, record: ServerRecord, port_claim: int
) -> subprocess.Popen[bytes]:
    try:
        with open(record.log_path, "ab") as log:
            return subprocess.Popen(
                settings.argv(record.port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own: kernels and terminals may die
                env=settings.process_environment() | {registry.MARK_VARIABLE: record.mark},
                pass_fds=(port_claim,),  # held for as long as the server lives
            )
    except OSError as error:
        record.forget()
        raise LaunchError(
            "The server process could not be started.", evidence=str(error),
            hint="is there enough memory, and is the Python environment whole?",
        ) from None


def _intent(
    settings: ServerSettings, port: int, log_path: Path, owner_is_terminal: bool
) -> ServerRecord:
    """What is written down before the process is started: all but its pid."""
    owner = 0 if owner_is_terminal else os.getpid()
    return ServerRecord(
        url=f"http://{settings.host}:{port}",
        port=port,
        pid=0,
        created=0.0,
        launcher_pid=os.getpid(),
        launcher_created=psutil.Process().create_time(),
        profile=settings.profile,
        model=settings.model,
        served_name=settings.served_name,
        fingerprint=settings.fingerprint,
        log_path=str(log_path),
        owner_pid=owner,
        owner_created=psutil.Process().create_time() if owner else 0.0,
        started_at=time.time(),
        command=settings.command_line(port),
    )


@contextlib.contextmanager
def _stopped_on_failure() -> Iterator[list[ServerRecord]]:
    """On any end but a good one - failure, time-out, Ctrl-C - the servers that were put into the
    list are stopped again: nothing half-started stays behind."""
    started: list[ServerRecord] = []
    try:
        yield started
    except BaseException:
        with interrupts.held_back():  # a second Ctrl-C must not leave half of them
            for record in started:
                stop_record(record)
        raise


def _mark_ready(record: ServerRecord) -> None:
    if record.state != "ready":
        record.state = "ready"
        record.save()


@contextlib.contextmanager
def _launch_lock(limit: float) -> Iterator[None]:
    """Two notebooks that launch at once must not start two servers."""
    import fcntl  # not on Windows, where only the remote profile comes this far

    folder = registry.state_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (folder / "launch.lock").open("w")
    except OSError as error:
        raise registry.not_writable(error) from None
    with file:
        deadline = time.monotonic() + min(limit, 60.0)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise LaunchTimeout(
                        "Another launch has held the launch lock for a minute.",
                        hint="wait for it, or end it, then try again",
                    ) from None
                time.sleep(0.1)
        yield  # closing the file releases the lock, also when this process is killed
