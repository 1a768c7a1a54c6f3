"""A wait for a server that is away must not be silent."""

from __future__ import annotations

import logging
import threading

from rerank_kit.language import localised

#: A shorter wait is not worth a word.
SILENT_SECONDS = 3.0
#: Without a configuration of yours, logging prints a warning's text to the standard error.
_log = logging.getLogger("rerank_kit")


class AwayNotice:
    """One line when the server stays away and one when it is back, however many threads wait."""

    def __init__(self, address: str, limit_seconds: float) -> None:
        self._address, self._limit_seconds = address, limit_seconds
        self._is_said = False
        self._lock = threading.Lock()

    def away(self, waited_seconds: float) -> None:
        """Nobody answers, and it is asked again."""
        if waited_seconds < SILENT_SECONDS:
            return
        with self._lock:
            first, self._is_said = not self._is_said, True
        if first:
            _log.warning("%s", localised(
                f"{self._address} does not answer; asking again for up to "
                f"{self._limit_seconds:.0f} seconds."
            ))  # fmt: skip

    def back(self) -> None:
        """It has answered."""
        if self._is_said:
            with self._lock:
                last, self._is_said = self._is_said, False
            if last:
                _log.warning("%s", localised(f"{self._address} answers again."))
