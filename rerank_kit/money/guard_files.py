"""The guard's files: what it was told, how it does, what it did. All are the user's alone."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rerank_kit.errors import SetupError
from rerank_kit.money.limits import Budget
from rerank_kit.registry import process_is, read_json_object, state_dir, write_json

WATCHING, COUNTDOWN, DONE, FAILED = "watching", "countdown", "done", "failed"
CANCELLED, OFF = "cancelled", "off"
#: States in which a guard must be alive.
ARMED = (WATCHING, COUNTDOWN)


def folder() -> Path:
    return state_dir() / "guard"


def lock_path() -> Path:
    return folder() / "lock"


def lock_is_held() -> bool:
    """Is a keeper or a watcher alive?"""
    import fcntl  # not on Windows, where no guard runs

    try:
        with lock_path().open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def log_path() -> Path:
    return folder() / "guard.log"


def cancel_path() -> Path:
    """This file asks the guard to give up its countdown."""
    return folder() / "cancel"


def off_path() -> Path:
    """This file asks the guard to end."""
    return folder() / "off"


@dataclass
class GuardState:
    """How the guard does. spent in the currency of the budget; action_in_seconds: what is left
    of the countdown; messages: what it said, newest last."""

    state: str = OFF
    pid: int = 0
    created: float = 0.0
    spent: float = 0.0
    percent: float = 0.0
    counted_seconds: float = 0.0
    idle_seconds: float = 0.0
    life: str = ""
    uptime_seconds: float = 0.0
    warned_percent: int = 0
    reason: str = ""
    action_in_seconds: float | None = None
    messages: list[str] = field(default_factory=list)

    @property
    def is_alive(self) -> bool:
        return self.pid != 0 and process_is(self.pid, self.created)

    def say(self, text: str) -> None:
        """A message for the log and for whoever asks next."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}"
        self.messages = [*self.messages, line][-20:]
        with contextlib.suppress(OSError):  # a full disk must not keep the guard from acting
            with log_path().open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def save(self) -> None:
        with contextlib.suppress(SetupError):  # the same
            write_json(folder() / "state.json", asdict(self))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"alive": self.is_alive}


def read_state() -> GuardState:
    """The last saved state; that of a guard that is off where there is none."""
    values = read_json_object(folder() / "state.json")
    known = {item.name for item in fields(GuardState)}
    return GuardState(**{key: value for key, value in values.items() if key in known})


def read_budget() -> Budget | None:
    values = read_json_object(folder() / "budget.json")
    return Budget.from_dict(values) if values else None


def write_budget(budget: Budget) -> None:
    write_json(folder() / "budget.json", budget.as_dict())
