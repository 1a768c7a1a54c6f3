"""One set-up at a time, in a child process that outlives a dropped line.

The worker has its own session and writes to .work/setup.log; what the person sees is that log
being followed. When the SSH line drops, the worker goes on, and the next run follows it or finds
the work done. It holds the lock for as long as it lives, so a killed one leaves none behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Optional, Sequence

from set_up.project import Project


def take_lock(project: Project) -> Optional[int]:
    """A file descriptor that holds the lock, or None when another set-up holds it."""
    import fcntl

    project.work.mkdir(parents=True, exist_ok=True)
    project.log.touch()  # whoever finds the lock taken follows the log, maybe before it is written
    descriptor = os.open(str(project.work / "setup.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def start_worker(
    project: Project, lock: int, arguments: Sequence[str]
) -> "subprocess.Popen[bytes]":
    """The child that installs. It inherits the lock and holds it for as long as it lives."""
    with open(project.log, "wb") as log:
        worker = subprocess.Popen(
            [sys.executable, str(project.root / "scripts" / "setup_environment.py"), "_install"]
            + list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
            cwd=str(project.root),
        )
    (project.work / "setup.pid").write_text("%d\n" % worker.pid)
    os.close(lock)
    return worker


def follow(project: Project, worker: "Optional[subprocess.Popen[bytes]]") -> None:
    """Show the log until the set-up ends. Ctrl-C stops our own worker, never another's."""

    def interrupt(number: int, frame: object) -> None:
        if worker is not None and worker.poll() is None:
            os.killpg(worker.pid, signal.SIGTERM)
            try:
                worker.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
            print("\nStopped. Run the same command again to go on; downloads are kept.")
        elif worker is None:
            print("\nNo longer watching; the other set-up goes on (%s)." % project.log)
        sys.stdout.flush()
        os._exit(128 + number)

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with open(project.log, "r", encoding="utf-8", errors="replace") as log:
            while True:
                over = worker.poll() is not None if worker else not _is_locked(project)
                if os.fstat(log.fileno()).st_size < log.tell():
                    log.seek(0)  # the other set-up began its log anew
                text = log.read()
                if text:
                    print(text, end="", flush=True)
                if over and not text:
                    return
                time.sleep(0.1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_locked(project: Project) -> bool:
    lock = take_lock(project)
    if lock is None:
        return True
    os.close(lock)
    return False
