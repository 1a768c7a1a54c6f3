"""Wait for a starting server until it answers, and say why when it does not."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from rerank_kit.client import Reranker
from rerank_kit.errors import (
    LaunchError,
    LaunchStopped,
    LaunchTimeout,
    RequestError,
    SetupError,
    UnreachableError,
)
from rerank_kit.registry import ServerRecord, read_json_object
from rerank_kit.server import process_group
from rerank_kit.server.diagnosis import diagnose
from rerank_kit.server.readiness import check_scores
from rerank_kit.server.remedies import fill_fixes
from rerank_kit.server.server import STOPPED_ON_REQUEST
from rerank_kit.server.settings import ServerSettings
from rerank_kit.server.signatures import catalogue
from rerank_kit.server.stalls import StallWatch
from rerank_kit.server.startup import ProgressCallback, StartupReader, log_tail
from rerank_kit.server.verdict import Diagnosis, Evidence

_POLL_SECONDS = 0.25
#: What a start that has given up may still write, before it is ended.
_LAST_WORDS_SECONDS = 3.0
#: How far from its end a log is searched for our own last word.
_LAST_LINES = 500
#: Less room than this on the log's disk: nobody can write there.
_FULL_BYTES = 64 * 1024


def wait_until_it_answers(
    record: ServerRecord, limit: float, report: ProgressCallback
) -> Reranker:
    """Follow the log until the API is up. Raises LaunchError, LaunchTimeout, LaunchStopped.

    A server that was ready before may be busy for some seconds: its time counts from now on."""
    limit_from = time.time() if record.state == "ready" else record.started_at
    reader = StartupReader(Path(record.log_path), record.fingerprint)
    stalls = StallWatch(record)
    gives_up_at: float | None = None
    reranker = Reranker(record.url, api_key=os.environ.get("RERANK_API_KEY", ""))
    while True:
        elapsed = time.time() - record.started_at
        now = reader.read(elapsed)
        report(now)
        process_group.reap_children()
        if reader.has_given_up and gives_up_at is None:
            gives_up_at = time.monotonic() + _LAST_WORDS_SECONDS
        if not record.is_alive() or (gives_up_at and time.monotonic() > gives_up_at):
            raise _failure(record, "The server ended before it was ready.", LaunchError)
        if process_group.listens(record.pid, record.port) and _answers(reranker):
            if record.state != "ready":
                with contextlib.suppress(SetupError):  # only the next forecast lives on it
                    reader.remember(time.time() - record.started_at)
            return reranker
        stalled = stalls.look(now.stage)
        if stalled is not None:
            message = f"The server was stuck at: {now.stage}."
            raise _failure(record, message, LaunchError, stalled)
        if time.time() - limit_from > limit:
            message = (
                f"The server was not ready after {limit:.0f} seconds, and not stuck: it was at: "
                f"{now.stage}."
            )
            raise _failure(record, message, LaunchTimeout)
        time.sleep(_POLL_SECONDS)


def check_known_pairs(record: ServerRecord, reranker: Reranker, settings: ServerSettings) -> None:
    try:
        check_scores(reranker, settings)
    except RequestError as error:
        message = f"The server did not score a known pair: {error.message}"
        raise _failure(record, message, LaunchError) from None


def _answers(reranker: Reranker) -> bool:
    """Is the API up? vLLM binds the port long before it answers on it."""
    try:
        reranker.transport.get("/health", timeout_seconds=2.0)
    except UnreachableError:
        return False
    except RequestError as error:
        if isinstance(error, TimeoutError):
            return False
        raise
    return True


def _failure(
    record: ServerRecord,
    message: str,
    kind: type[LaunchError],
    stalled: Diagnosis | None = None,
) -> LaunchError:
    """What went wrong, from the log: the cause, not the wrapper around it."""
    path = Path(record.log_path)
    if _was_stopped(record):
        message = "The server was stopped by somebody while it started."
        return LaunchStopped(message, hint="launch it again", log_path=str(path))
    found = diagnose(path, process_group.exit_status(record.pid))
    known = found.family not in ("none", "unknown")
    if not known:
        seen = stalled or _full_disk(path)
        found, known = seen or found, seen is not None
    slow = kind is LaunchTimeout and not known
    fix = found.fixes[0] if found.fixes and not slow else None
    wait_longer = "give it more time (timeout_seconds), or read the log: " if (
        kind is LaunchTimeout
    ) else "read the log: "
    return kind(
        f"{message} {found.title}" if known else message,
        evidence=found.evidence[0].text if found.evidence else "",
        hint=f"{fix.change}  ({fix.why})" if fix else f"{wait_longer}{path}",
        log_path=str(path),
        log_tail=log_tail(path),
        diagnosis=found,
    )


def _was_stopped(record: ServerRecord) -> bool:
    """Whether a stop, here or in another process, ended it: not a failure of its own. What it
    wrote while it was being ended may look like one."""
    written = read_json_object(record.path)
    if written.get("mark", record.mark) != record.mark:
        return True  # the file is already that of the next server on this port
    last_words = log_tail(Path(record.log_path), _LAST_LINES)
    return written.get("state") == "stopping" or STOPPED_ON_REQUEST in last_words


def _full_disk(log: Path) -> Diagnosis | None:
    """A server whose log could not be written leaves no line that says so."""
    try:
        free = shutil.disk_usage(log.parent).free
    except OSError:
        return None
    if free > _FULL_BYTES:
        return None
    family = catalogue().families["disk_full"]
    evidence = Evidence(0, f"{free} bytes are free where the log is written: {log.parent}")
    return Diagnosis("disk_full", "likely", "warmup", family.title, family.cause, (evidence,),
                     fill_fixes(family.fixes, {}))  # fmt: skip
