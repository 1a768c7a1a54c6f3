"""Which servers of ours run on this machine: one small JSON file each, so that a server
outlives the notebook that started it and is found again instead of being orphaned.

The file is there before the process is (pid 0: an intent), and every process of a server carries
the file's mark in its environment. So a server whose launcher was killed before it could write
the pid down is found by its mark, and so are workers that outlive their server's main process.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import psutil

from rerank_kit.errors import SetupError

#: In the environment of every process of a server: which record it belongs to.
MARK_VARIABLE = "RERANK_KIT_SERVER_MARK"
#: A launcher killed between fork and exec leaves a child that does not show its mark yet.
_INTENT_GRACE_SECONDS = 5.0


def state_dir() -> Path:
    """Where state files and logs live: RERANK_KIT_STATE_DIR, else the user's XDG state folder."""
    chosen = os.environ.get("RERANK_KIT_STATE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "rerank_kit"


def write_json(path: Path, value: object) -> None:
    """Replace a state file in one step, readable by this user only. Raises SetupError when the
    disk is full or the folder may not be written; the former file stays as it was then."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.write_text(json.dumps(value, indent=1), encoding="utf-8")
        draft.chmod(0o600)
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise not_writable(error) from None


def not_writable(error: OSError) -> SetupError:
    """The state folder cannot be written: what to say."""
    return SetupError(
        f"The state folder cannot be written: {error.strerror or error}.",
        evidence=str(error),
        hint="free some space (df -h), or set RERANK_KIT_STATE_DIR to a folder on another disk",
    )


def new_log(kind: str, name: str, *, keep: int) -> Path:
    """A new file among the logs, readable by this user only. Of its kind the newest stay."""
    folder = state_dir() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = _new_file(folder, kind, name)
    except OSError as error:
        raise not_writable(error) from None
    for old in sorted(folder.glob(f"{kind}-*"))[:-keep]:
        old.unlink(missing_ok=True)
    return path


def _new_file(folder: Path, kind: str, name: str) -> Path:
    """Names hold the second: a second start on a port within it waits for the next one."""
    while True:
        path = folder / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        try:
            path.touch(mode=0o600, exist_ok=False)
            return path
        except FileExistsError:
            time.sleep(0.05)


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
    pid 0 is an intent: the launcher (of `launcher_pid`) is about to start the process.
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
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    launcher_pid: int = 0
    launcher_created: float = 0.0

    @property
    def path(self) -> Path:
        return state_dir() / "servers" / f"{self.port}.json"

    def save(self) -> None:
        """Write atomically, readable by this user only."""
        write_json(self.path, asdict(self))

    def is_written(self) -> bool:
        """Whether the file is there and this server's: a newer one on the port may have it."""
        return read_json_object(self.path).get("mark") == self.mark

    def forget(self) -> None:
        """Remove the file, unless a newer server on the same port has taken its place."""
        if read_json_object(self.path).get("mark", self.mark) == self.mark:
            self.path.unlink(missing_ok=True)

    def is_alive(self) -> bool:
        """Whether the server's main process runs."""
        return self.pid != 0 and process_is(self.pid, self.created)

    def launcher_is_alive(self) -> bool:
        return self.launcher_pid != 0 and process_is(self.launcher_pid, self.launcher_created)

    def processes(self) -> list[psutil.Process]:
        """The living processes that carry this record's mark or write into its log: the server,
        its workers, whatever they started. Looks at every process of the machine (some
        milliseconds)."""
        return [one for one in psutil.process_iter() if self._owns(one)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            # vLLM's engine gives itself a title ("VLLM::EngineCore"), which overwrites the
            # environment that the system shows: it is known by its log.
            marked = process.environ().get(MARK_VARIABLE) == self.mark
            return (marked or self._writes_the_log(process)) and process_is_running(process)
        except (psutil.Error, OSError):
            return False  # of another user, or gone meanwhile

    def _writes_the_log(self, process: psutil.Process) -> bool:
        try:
            return os.readlink(f"/proc/{process.pid}/fd/1") == os.path.realpath(self.log_path)
        except OSError:
            return False  # of another user, gone meanwhile, or no Linux

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
        except OSError:
            continue  # removed at this moment, by the one who stopped the server
        except (ValueError, TypeError, AttributeError):
            path.unlink(missing_ok=True)
    yield from sorted(found, key=lambda record: record.started_at)


def living() -> list[ServerRecord]:
    """The servers that really run; records of dead ones are cleaned away (after a reboot,
    a crash, a kill from outside). One whose main process is gone while workers of it live has
    the state "broken"."""
    _sweep_drafts()
    return [record for record in records() if record.is_alive() or _is_found(record)]


def _sweep_drafts() -> None:
    """Remove half-written state files of processes that were killed while they wrote."""
    for folder in (state_dir(), state_dir() / "servers"):
        for draft in folder.glob("*.tmp"):
            writer = draft.stem.rpartition(".")[2]
            if writer.isdigit() and not psutil.pid_exists(int(writer)):
                draft.unlink(missing_ok=True)


def _is_found(record: ServerRecord) -> bool:
    """Look for what is left of a server that its record does not lead to; mend the record, or
    remove it when nothing is left."""
    if record.pid == 0 and record.launcher_is_alive():
        return False  # being started at this moment
    left = record.processes()
    if record.pid == 0 and left:
        main = min(left, key=lambda process: process.create_time())
        record.pid, record.created = main.pid, main.create_time()
    elif left:
        record.state = "broken"
    elif record.pid != 0 or time.time() - record.started_at > _INTENT_GRACE_SECONDS:
        record.forget()
    # Its stop may have removed the file meanwhile: a look must not bring it back.
    if left and record.is_written():
        with contextlib.suppress(SetupError):  # a full disk must not hide a living server
            record.save()
    return bool(left)


def process_is_running(process: psutil.Process) -> bool:
    """Running, and no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
