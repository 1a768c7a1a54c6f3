"""How long each kind of work in this window took: what the Money panel puts a price on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """A kind of work, how often it was done, and how long that took altogether."""

    name: str
    times: int
    seconds: float


class Steps:
    """Written to by every panel, from whichever thread its work ran in."""

    def __init__(self) -> None:
        self._done: dict[str, Done] = {}
        self._gate = threading.Lock()
        self._watchers: list[Callable[[], None]] = []

    def note(self, name: str, seconds: float) -> None:
        """Add a piece of work."""
        with self._gate:
            before = self._done.get(name, Done(name, 0, 0.0))
            self._done[name] = Done(name, before.times + 1, before.seconds + seconds)
        for watcher in list(self._watchers):
            watcher()

    def all(self) -> list[Done]:
        """In the order in which they were first done."""
        with self._gate:
            return list(self._done.values())

    def watch(self, callback: Callable[[], None]) -> None:
        """Call callback after every piece of work."""
        self._watchers.append(callback)


#: A viewer of the page, and a notebook, have a process of their own: so each has its own steps.
STEPS = Steps()
