"""Work in the background, and its errors as one sentence and a hint."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rerank_kit.errors import RerankKitError
from rerank_kit.panels.logic.steps import STEPS


@dataclass(frozen=True)
class Problem:
    """What went wrong, as the panel shows it. hint: the smallest thing to try."""

    sentence: str
    hint: str = ""
    evidence: str = ""


def problem_of(error: BaseException) -> Problem:
    """An error as one sentence and a hint, never a traceback."""
    if isinstance(error, RerankKitError):
        return Problem(error.message, error.hint, error.evidence)
    first = (str(error).strip().splitlines() or [""])[0][:300]
    kind = type(error).__name__
    return Problem(
        "Something went wrong that rerank_kit does not know.",
        "try the same in code; if it fails there too, its traceback says where",
        f"{kind}: {first}" if first else kind,
    )


class Model:
    """What a panel knows. Its watchers are told of every change, from whichever thread it came.

    busy: what is being done now ("" when nothing is). problem: why the last thing asked for
    failed, and last_error its exception. costs: its work is one of the steps that the Money
    panel lists.
    """

    costs = True

    def __init__(self) -> None:
        self.busy = ""
        self.problem: Problem | None = None
        self.last_error: BaseException | None = None
        self.busy_since = 0.0
        self._watchers: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._gate = threading.Lock()

    def watch(self, callback: Callable[[], None]) -> None:
        """Call callback after every change."""
        self._watchers.append(callback)

    def changed(self) -> None:
        """Tell the watchers. One that raises is not asked again: it must not kill the work."""
        for callback in list(self._watchers):
            try:
                callback()
            except Exception as error:
                self._watchers.remove(callback)
                self.last_error, self.problem = error, problem_of(error)

    def begin(self, doing: str, work: Callable[[], None]) -> bool:
        """Do work() in a thread. False, and nothing happens, while something else is done."""
        with self._gate:
            if self.busy:
                return False
            self.busy, self.problem, self.last_error = doing, None, None
            self.busy_since = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(doing, work), daemon=True)
        self.changed()
        self._thread.start()
        return True

    def join(self, timeout_seconds: float = 120.0) -> None:
        """Wait for the work to end. Raises TimeoutError when it does not."""
        thread = self._thread
        if thread is not None and thread.ident is not None:
            thread.join(timeout_seconds)
            if thread.is_alive():
                raise TimeoutError(f"still busy after {timeout_seconds:.0f} s: {self.busy}")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """An error inside becomes the model's problem: for quick work without a thread."""
        self.problem, self.last_error = None, None
        try:
            yield
        except Exception as error:
            self.fail(error)
        self.changed()

    def fail(self, error: BaseException) -> None:
        """Keep an error to be shown."""
        self.last_error, self.problem = error, problem_of(error)

    def _run(self, doing: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.fail(error)
        finally:
            self.busy = ""
            self.changed()
            if self.costs:
                STEPS.note(doing, time.monotonic() - self.busy_since)
