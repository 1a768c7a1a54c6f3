"""Which servers of ours run on this machine: one small JSON file each, so that a server
outlives the notebook that started it and is found again instead of being orphaned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import psutil


def state_dir() -> Path:
    """Where state files and logs live: RERANK_KIT_STATE_DIR, else the user's XDG state folder."""
    chosen = os.environ.get("RERANK_KIT_STATE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "rerank_kit"


def write_json(path: Path, value: object) -> None:
    """Replace a state file in one step, readable by this user only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(value, indent=1), encoding="utf-8")
    draft.chmod(0o600)
    os.replace(draft, path)


def read_json_object(path: Path) -> dict[str, Any]:
    """A state file that is an object; empty when there is none or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass
class ServerRecord:
    """What is written down about one server. Times are seconds since the epoch.

    `created` and `owner_created` are process start times: a pid alone can be reused.
    An owner of pid 0 means "a person in a terminal": only an explicit stop ends the server.
    """

    url: str
    port: int
    pid: int
    created: float
    profile: str
    model: str
    served_name: str
    fingerprint: str
    log_path: str
    state: str = "starting"
    owner_pid: int = 0
    owner_created: float = 0.0
    started_at: float = 0.0
    command: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return state_dir() / "servers" / f"{self.port}.json"

    def save(self) -> None:
        """Write atomically, readable by this user only."""
        write_json(self.path, asdict(self))

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)

    def is_alive(self) -> bool:
        return process_is(self.pid, self.created)

    def owner_is_alive(self) -> bool:
        return self.owner_pid != 0 and process_is(self.owner_pid, self.owner_created)

    def public(self) -> dict[str, object]:
        """The keys that `rerank-kit launch` and `status` promise."""
        keys = ("url", "pid", "profile", "model", "state", "log_path", "port", "served_name")
        everything = asdict(self)
        return {key: everything[key] for key in keys}


def process_is(pid: int, created: float) -> bool:
    """True when pid runs and is the process that was started at `created`."""
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and abs(process.create_time() - created) < 2.0
    except psutil.Error:
        return False


def records() -> Iterator[ServerRecord]:
    """Every server written down, alive or not, oldest first. Keys of a newer version are passed
    over; a file that is no record at all (files are replaced whole, so not one of ours) is
    removed."""
    folder = state_dir() / "servers"
    known = {item.name for item in fields(ServerRecord)}
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found.append(ServerRecord(**{k: v for k, v in values.items() if k in known}))
        except (OSError, ValueError, TypeError, AttributeError):
            path.unlink(missing_ok=True)
    yield from sorted(found, key=lambda record: record.started_at)


def living() -> list[ServerRecord]:
    """The servers that really run; records of dead ones are cleaned away (after a reboot,
    a crash, a kill from outside)."""
    alive = []
    for record in records():
        if record.is_alive():
            alive.append(record)
        else:
            record.forget()
    return alive
