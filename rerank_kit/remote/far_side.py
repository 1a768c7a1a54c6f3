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
from pathlib import Path
from typing import Any

from rerank_kit import machine, models, registry
from rerank_kit.errors import RerankKitError

CANCEL = "cancel"
_LAUNCHER = "launch"
_LOOK_SECONDS = 0.2
REPORT_SECONDS = 5.0
#: What a launch that was told to stop may take to end its server.
_CANCEL_SECONDS = 60.0
_KEPT_REPORTS = 5
#: stdin without a buffer: a thread may wait on it while the program ends.
_ORDERS = open(0, "rb", buffering=0, closefd=False)


def main() -> int:
    """Answer one order. The answer's last line is "ready", "stopped", "cancelled" or "error"."""
    order = json.loads(_ORDERS.readline() or b"{}")
    try:
        if order.get("do") == "stop":
            _tell(_stop(order.get("port")))
        else:
            _launch(order)
    except RerankKitError as error:
        _tell(error.as_dict())
    return 0


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def _stop(port: int | None) -> dict[str, Any]:
    from rerank_kit.server.server import stop_record

    found = [record for record in registry.living() if port in (None, record.port)]
    reports = [stop_record(record) for record in found]
    gone = all(not report.survivors for report in reports)
    return {"stopped": gone, "details": [report.details for report in reports]}


def _launch(order: dict[str, Any]) -> None:
    for finding in machine.report(order.get("profile") or None):
        if finding.status == "fix":
            _tell({"finding": finding.as_dict()})
    report = _new_report()
    child = subprocess.Popen(
        [sys.executable, "-m", "rerank_kit.remote.far_side", _LAUNCHER, str(report)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,  # the end of the login is not its end
    )  # fmt: skip
    assert child.stdin is not None
    child.stdin.write(json.dumps(order).encode())
    child.stdin.close()
    _tell({"began": True})  # from here on a broken line ends nothing: log in again
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(cancelled,), daemon=True).start()
    _relay(child, report, cancelled)


def _listen(cancelled: threading.Event) -> None:
    """Wait for the word that ends the launch. The end of stdin is a broken line: no word."""
    for line in iter(_ORDERS.readline, b""):
        if line.strip() == CANCEL.encode():
            cancelled.set()
            return
    os._exit(0)  # nobody listens any more


def _relay(child: subprocess.Popen[bytes], report: Path, cancelled: threading.Event) -> None:
    with report.open(encoding="utf-8") as lines:
        while True:
            ended = child.poll() is not None
            for line in lines:  # written whole, each in one step
                sys.stdout.write(line)
                sys.stdout.flush()
            if cancelled.is_set():
                _cancel(child)
                _tell({"cancelled": True})
                return
            if ended:
                if child.returncode != 0:
                    what = f"The launch there ended with status {child.returncode}."
                    _tell(RerankKitError(what, hint="rerank-kit logs, there").as_dict())
                return
            time.sleep(_LOOK_SECONDS)


def _cancel(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_CANCEL_SECONDS)


def _new_report() -> Path:
    """The file that a launch writes its progress to, and whoever is logged in reads."""
    folder = registry.state_dir() / "logs"
    path = folder / f"remote-launch-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        raise registry.not_writable(error) from None
    for old in sorted(folder.glob("remote-launch-*.jsonl"))[:-_KEPT_REPORTS]:
        old.unlink(missing_ok=True)
    return path


def launch_detached(report: Path) -> int:
    """The process that launches: its order on stdin, its progress into the report."""
    from rerank_kit import server

    order = json.loads(_ORDERS.read())
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
