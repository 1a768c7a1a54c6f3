"""Claim a port for one server, so that no second server of this kit takes the same one.

vLLM binds with SO_REUSEPORT: two servers of one user can both listen on port 8000, and the
system deals their requests out between them. A free port is therefore also claimed with a lock
file that the server process itself holds open for as long as it lives.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from rerank_kit import machine
from rerank_kit.errors import PortInUseError
from rerank_kit.machine.host import listeners

DEFAULT_PORT = 8000
_TRIES = 20
#: A killed process ends thread by thread. Its main thread may be gone, and it counts as dead,
#: while the last one still holds the port and its claim.
_DYING_SECONDS = 10.0


def claim(port: int | None) -> tuple[int, int]:
    """(port, file descriptor of its claim). None: 8000 if it is free, else any free port.

    Give the descriptor to the server process (pass_fds) and close it here. Raises
    PortInUseError when the wanted port is taken. One that a killed server still holds is waited
    for: it is free in a moment.
    """
    if port is not None:
        descriptor = _when_let_go(port)
        if descriptor is None:
            raise PortInUseError(
                f"Port {port} is taken by another program.",
                hint=f"leave the port out, or see who has it: ss -ltnp 'sport = :{port}'",
            )
        return port, descriptor
    wanted = DEFAULT_PORT
    for _ in range(_TRIES):
        if machine.port_is_free(wanted):
            descriptor = _lock(wanted)
            if descriptor is not None:
                return wanted, descriptor
        wanted = machine.free_port()
    raise PortInUseError("No free port was found.", hint="name one with the port option")


def _when_let_go(port: int) -> int | None:
    """The descriptor of the port's claim, or None when somebody alive has the port."""
    deadline = time.monotonic() + _DYING_SECONDS
    is_dying = False
    while True:
        is_free = machine.port_is_free(port)
        descriptor = _lock(port) if is_free else None
        # Whoever listens and cannot be named is dying, or somebody whose processes we may not see.
        is_dying = is_dying or (not is_free and all(
            one.pid is None for one in listeners((port,))
        ))  # fmt: skip
        if descriptor is not None or not is_dying or time.monotonic() > deadline:
            return descriptor
        time.sleep(0.1)


def _lock(port: int) -> int | None:
    """Hold the port's claim, or None when somebody else does. The lock lives and dies with the
    processes that have the file open, so nothing stale can stay behind."""
    import fcntl  # not on Windows, where no server is started

    folder = Path(tempfile.gettempdir()) / "rerank_kit_ports"
    try:
        folder.mkdir(exist_ok=True)
        if folder.stat().st_uid == os.getuid():
            folder.chmod(0o1777)  # every user of the machine claims ports here
        descriptor = os.open(folder / f"{port}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return None  # somebody else's claim that we may not even open
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
