"""`python end_with_main.py PID`: when the main process PID has died, end the rest of its group.

vLLM's engine is a process of its own that waits for its server's orders. When the server is
killed with SIGKILL (by the system's out-of-memory killer, by a person), no order comes any more:
the engine was seen to live on for minutes, with all its memory. run_vllm.py therefore starts this
small process beside vLLM. It costs 5 MB and 5 ms, sleeps until the main process is gone, then
ends what is left of the group, and itself.

Nobody else is ever signalled. The group is the one that this process is in, and its number
cannot be given to others while this process lives; a group that PID does not lead (a shell's, a
person's) is left alone. Standard library only: it is started without the site packages.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

#: An engine that is well ends within a second of SIGTERM; one in a long step does not hear it.
TERM_SECONDS = 3.0
#: Where the kernel cannot tell of a process's end (before Linux 5.3, macOS), it is asked so often.
LOOK_SECONDS = 0.5
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(pid: int) -> None:
    for number in _IGNORED:  # they are meant for vLLM; this process ends when vLLM has ended
        signal.signal(number, signal.SIG_IGN)
    wait_for_the_end(pid)
    if os.getpgrp() == pid:
        end_the_group()


def wait_for_the_end(pid: int) -> None:
    """Until the parent, process pid, is gone. A parent's pid is reused by nobody before its
    child has another parent."""
    with contextlib.suppress(AttributeError, OSError):
        handle = os.pidfd_open(pid)
        if os.getppid() == pid:  # else it had died before, and the handle may be a stranger's
            select.select([handle], [], [])
        os.close(handle)
    while os.getppid() == pid:
        time.sleep(LOOK_SECONDS)


def end_the_group() -> None:
    """SIGTERM for all of this process's group, after a while SIGKILL, which ends it as well."""
    os.killpg(os.getpgrp(), signal.SIGTERM)
    deadline = time.monotonic() + TERM_SECONDS
    while time.monotonic() < deadline:
        if others_of_the_group() == []:
            return
        time.sleep(0.1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def others_of_the_group() -> list[int] | None:
    """The living processes of this group but this one; None where the system does not say."""
    found = []
    try:
        entries = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    except OSError:
        return None
    for pid in entries:
        with contextlib.suppress(OSError, IndexError, ValueError):
            # pid (command, which may hold anything) state parent group ...
            state, _, group = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(
                ")"
            )[2].split()[:3]
            if int(group) == os.getpgrp() and state not in "ZX" and pid != os.getpid():
                found.append(pid)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
