"""What runs on the rented machine for `rerank-kit launch --on`, at the other end of an ssh login.

    python -m rerank_kit.remote.far_side

reads one order (a JSON object) from its stdin and answers with JSON lines on its stdout. The order
comes that way, and not as words of a command, because it may hold the server's key.

A launch is done by a process of its own, which a broken line does not end: whoever logs in again
and gives the same order joins the start that goes on. Only the line "cancel" ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from rerank_kit import machine, models, registry
from rerank_kit.errors import RerankKitError

CANCEL = "cancel"
_LAUNCHER = "launch"
_KIND, _KEPT_REPORTS = "remote-launch", 5
_LOOK_SECONDS = 0.2
REPORT_SECONDS = 5.0
#: What a launch that was told to stop may take to end its server.
_CANCEL_SECONDS = 60.0


@dataclass(frozen=True)
class _Begun:
    """A launch that has begun: its process, and the file that it reports to."""

    pid: int
    created: float
    report: Path

    @property
    def goes_on(self) -> bool:
        return registry.process_is(self.pid, self.created)


def main() -> int:
    """Answer one order. The answer's last line is "ready", "stopped", "cancelled" or "error"."""
    orders = _stdin()
    order = json.loads(orders.readline() or b"{}")
    try:
        if order.get("do") == "stop":
            _tell(_stop(order.get("port")))
        else:
            _launch(order, orders)
    except RerankKitError as error:
        _tell(error.as_dict())
    return 0


def _stdin() -> IO[bytes]:
    """Without a buffer: a thread may wait on it while the program ends."""
    return open(0, "rb", buffering=0, closefd=False)


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def _stop(port: int | None) -> dict[str, Any]:
    from rerank_kit.server.server import stop_record

    found = [record for record in registry.living() if port in (None, record.port)]
    reports = [stop_record(record) for record in found]
    gone = all(not report.survivors for report in reports)
    return {"stopped": gone, "details": [report.details for report in reports]}


def _launch(order: dict[str, Any], orders: IO[bytes]) -> None:
    """Begin a launch, or join the one that an earlier login of the same command has begun."""
    mark = str(order.get("mark") or os.getpid())
    begun = _find(mark)
    if begun is None:
        for finding in machine.report(order.get("profile") or None):
            if finding.status == "fix":
                _tell({"finding": finding.as_dict()})
        begun = _begin(order, mark)
    _tell({"began": True})  # from here on a broken line ends nothing: log in again
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(orders, cancelled), daemon=True).start()
    _relay(begun, cancelled)


def _begin(order: dict[str, Any], mark: str) -> _Begun:
    report = registry.new_log(_KIND, f"{mark}.jsonl", keep=_KEPT_REPORTS)
    child = subprocess.Popen(
        [sys.executable, "-m", "rerank_kit.remote.far_side", _LAUNCHER, str(report)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,  # the end of the login is not its end
    )  # fmt: skip
    begun = _Begun(child.pid, psutil.Process(child.pid).create_time(), report)
    who = {"launcher": {"pid": begun.pid, "created": begun.created}}
    report.write_text(json.dumps(who) + "\n", encoding="utf-8")
    assert child.stdin is not None
    child.stdin.write(json.dumps(order).encode())
    child.stdin.close()
    return begun


def _find(mark: str) -> _Begun | None:
    """The launch that was begun with this mark."""
    for report in (registry.state_dir() / "logs").glob(f"{_KIND}-*-{mark}.jsonl"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            first = report.read_text(encoding="utf-8").partition("\n")[0]
            return _Begun(**json.loads(first)["launcher"], report=report)
    return None


def _listen(orders: IO[bytes], cancelled: threading.Event) -> None:
    """Wait for the word that ends the launch. The end of stdin is a broken line: no word."""
    for line in iter(orders.readline, b""):
        if line.strip() == CANCEL.encode():
            cancelled.set()
            return
    os._exit(0)  # nobody listens any more


def _relay(begun: _Begun, cancelled: threading.Event) -> None:
    """Pass on what the launch reports, until it ends or is to end."""
    rest, last = "", {}
    with begun.report.open(encoding="utf-8") as lines:
        while True:
            ended = not begun.goes_on
            *whole, rest = (rest + lines.read()).split("\n")
            for message in _without_old_progress([json.loads(line) for line in whole]):
                last = message
                _tell(message)
            if cancelled.is_set():
                _cancel(begun)
                _tell({"cancelled": True})
                return
            if ended:
                if not {"ready", "error"} & last.keys():
                    what = "The launch there ended without a word."
                    _tell(RerankKitError(what, hint="rerank-kit logs, there").as_dict())
                return
            time.sleep(_LOOK_SECONDS)


def _without_old_progress(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whoever logs in again wants to know how far it is, not how far it was."""
    newest = next((one for one in reversed(messages) if "progress" in one), None)
    return [one for one in messages if "progress" not in one or one is newest]


def _cancel(begun: _Begun) -> None:
    """End the launch, and the server that it has started."""
    from rerank_kit.server.server import stop_record

    if begun.goes_on:
        os.kill(begun.pid, signal.SIGTERM)
    deadline = time.monotonic() + _CANCEL_SECONDS
    while begun.goes_on and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    for record in registry.living():  # it was ready at the last moment
        its = record.launcher_pid == begun.pid and record.launcher_created == begun.created
        if its and not begun.goes_on:
            stop_record(record)


def launch_detached(report: Path) -> int:
    """The process that launches: its order on stdin, its progress into the report."""
    from rerank_kit import server

    order = json.loads(_stdin().read())
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), _interrupt)
    if order.get("key"):
        os.environ["RERANK_API_KEY"] = order["key"]
    os.environ.pop("RERANK_URL", None)  # there, `auto` means that machine

    def tell(message: dict[str, Any]) -> None:
        with report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(message) + "\n")

    try:
        profile, why = server.choose_profile(order.get("profile") or "auto")
        tell({"profile": profile, "why": why})
        running = server.launch(
            profile, order.get("model"), port=order.get("port"),
            timeout_seconds=order.get("timeout_seconds"),
            extra_args=tuple(order.get("vllm_flags") or ()),
            on_progress=_now_and_then(lambda now: tell(_progress(now))), owner_is_terminal=True,
            score_check=order.get("score_check", True), recover=order.get("recover", False),
            on_remedy=lambda remedy: tell({"remedy": str(remedy)}),
        )  # fmt: skip
    except RerankKitError as error:
        tell(error.as_dict())
        return 0
    except KeyboardInterrupt:
        return 130
    record, settings = running.record, running.settings
    assert record is not None and settings is not None
    practice = settings.served_name == models.PRACTICE
    tell({"ready": record.public() | {"practice": practice, "dtype": settings.dtype}})
    return 0


def _progress(now: Any) -> dict[str, Any]:
    return {"progress": {"stage": now.stage, "percent": round(now.percent),
                         "seconds_left": now.seconds_left}}  # fmt: skip


def _now_and_then(tell: Callable[[Any], None]) -> Callable[[Any], None]:
    """Each new stage at once, and else a report now and then."""
    last_stage, last_at = "", 0.0

    def report(now: Any) -> None:
        nonlocal last_stage, last_at
        if now.stage != last_stage or time.monotonic() - last_at >= REPORT_SECONDS:
            last_stage, last_at = now.stage, time.monotonic()
            tell(now)

    return report


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    if sys.argv[1:2] == [_LAUNCHER]:
        sys.exit(launch_detached(Path(sys.argv[2])))
    sys.exit(main())
