"""`rerank-kit status --watch`: a live view in the terminal."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, TextIO

from rerank_kit import registry
from rerank_kit.errors import NoServerError, RequestError
from rerank_kit.memory.show import aligned
from rerank_kit.server import live
from rerank_kit.server.startup import StartupReader

EVERY_SECONDS = 2.0
#: So that one look with --json also has rates.
_BETWEEN_TWO_LOOKS_SECONDS = 1.0
_CLEAR = "\x1b[H\x1b[J"


def addresses() -> list[str]:
    """The servers to look at: RERANK_URL where it is set, else ours. Raises NoServerError."""
    named = os.environ.get("RERANK_URL")
    found = [named] if named else [record.url for record in registry.living()]
    if not found:
        raise NoServerError(
            "No server of ours is running on this machine.",
            hint="run `rerank-kit launch`, or set RERANK_URL to a server's address",
        )
    return found


def one_look(urls: list[str]) -> list[dict[str, Any]]:
    """Each server's numbers, with the rates of one second."""
    before = _looks(urls, {})
    time.sleep(_BETWEEN_TWO_LOOKS_SECONDS)
    after = _looks(urls, before)
    return [
        found.as_dict() if isinstance(found, live.LiveView) else {"url": url} | found.as_dict()
        for url, found in after.items()
    ]


def watch_until_interrupted(out: TextIO) -> None:
    """Print the view again and again; Ctrl-C ends it. In a terminal it stays in its place."""
    in_place = out.isatty()
    before: dict[str, live.LiveView | RequestError] = {}
    try:
        while True:
            before = _looks(addresses(), before)
            text = _text(before)
            print(f"{_CLEAR}{text}\n\nCtrl-C ends the view; the servers go on." if in_place
                  else f"{text}\n", file=out, flush=True)  # fmt: skip
            time.sleep(EVERY_SECONDS)
    except KeyboardInterrupt:
        if in_place:
            print(file=out)


def _looks(
    urls: list[str], before: dict[str, live.LiveView | RequestError]
) -> dict[str, live.LiveView | RequestError]:
    found: dict[str, live.LiveView | RequestError] = {}
    for url in urls:
        last = before.get(url)
        try:
            found[url] = live.look(url, last if isinstance(last, live.LiveView) else None)
        except RequestError as error:
            found[url] = error  # it may only be starting, or ending
    return found


def _text(views: dict[str, live.LiveView | RequestError]) -> str:
    blocks = []
    for url, view in views.items():
        if isinstance(view, live.LiveView):
            lines = aligned([["  " + name, value] for name, value in view.rows()])
        else:
            lines = [f"  {_starting(url) or f'does not answer: {view.message}'}"]
        blocks.append("\n".join([url, *lines]))
    return "\n\n".join(blocks)


def _starting(url: str) -> str:
    """Where the start of one of our servers is; "" when it is none."""
    for record in registry.living():
        if record.url == url and record.state == "starting":
            reader = StartupReader(Path(record.log_path), record.fingerprint)
            now = reader.read(time.time() - record.started_at)
            return f"starting: {now.stage}, {now.percent:.0f} %, {now.seconds_elapsed:.0f} s"
    return ""
