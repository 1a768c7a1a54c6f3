"""Hold back Ctrl-C and SIGTERM for the moment in which a process exists that nobody knows yet."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_HELD = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Signals that arrive inside are delivered when the block ends.

    A child that is started inside gets the default actions back, as every new program does. In
    a thread this does nothing: Python runs signal handlers in the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    former = {number: signal.getsignal(number) for number in _HELD}
    held = {
        number: handler
        for number, handler in former.items()
        if handler is not None and handler is not signal.SIG_IGN
    }
    for number in held:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])
