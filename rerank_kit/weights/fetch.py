"""One file of a model, over HTTP, gone on with where the last try ended, and checked.

Own code, because huggingface_hub goes on within one process only: since its PR 4228 a part file
belongs to one process and is deleted when that ends (file_download.py, _download_to_tmp_and_move,
2.4.0). On a rented machine the rest of a 5 GB file is money.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import requests

from rerank_kit.errors import DownloadError, SetupError
from rerank_kit.weights.hubs import HubFile, HubModel, refused

CHUNK_BYTES = 2**20
#: What a line that breaks can cost at most.
PIECE_BYTES = 2**16
#: Nothing for so long: the line is dead.
CONNECT_SECONDS, SILENCE_SECONDS = 20.0, 30.0
#: Tries in a row that bring no byte.
TRIES = 6
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0

Count = Callable[[int], None]


class Interrupted(Exception):
    """Somebody else's file failed, or the user pressed Ctrl-C: what is fetched stays."""


def part_path(file: HubFile, destination: Path) -> Path:
    """Where the first part of a file is kept. Its name holds the checksum: the part of an older
    revision is never gone on with."""
    return destination.with_name(f"{destination.name}.{(file.checksum or 'new')[:12]}.part")


def is_whole(file: HubFile, path: Path) -> bool:
    """Is the file there, and exactly what the hub says?"""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as opened:
        return _Part(file, opened).is_right


class _Part:
    """What has come of a file so far, with the checksum of it."""

    def __init__(self, file: HubFile, opened: IO[bytes]) -> None:
        self._file = file
        self._opened = opened
        self._begin()
        opened.seek(0)
        while chunk := opened.read(CHUNK_BYTES):
            self._digest.update(chunk)
            self.have += len(chunk)

    def _begin(self) -> None:
        self.have = 0
        # git's own checksum begins with the kind of a thing and its length.
        self._digest = hashlib.sha256() if self._file.sha256 else hashlib.sha1(
            b"blob %d\0" % self._file.size, usedforsecurity=False
        )

    def add(self, chunk: bytes) -> None:
        self._opened.write(chunk)
        self._digest.update(chunk)
        self.have += len(chunk)

    def throw_away(self) -> int:
        """Begin anew; how many bytes are gone."""
        gone = self.have
        self._opened.seek(0)
        self._opened.truncate()
        self._begin()
        return gone

    @property
    def is_right(self) -> bool:
        return not self.what_is_wrong

    @property
    def what_is_wrong(self) -> str:
        if self.have != self._file.size:
            return f"{self.have} bytes, the hub says {self._file.size}"
        found = self._digest.hexdigest()
        if self._file.checksum and found != self._file.checksum:
            return f"its checksum is {found[:12]}..., the hub says {self._file.checksum[:12]}..."
        return ""


def fetch(
    model: HubModel, file: HubFile, destination: Path, session: requests.Session,
    count: Count, stop: threading.Event,
) -> None:  # fmt: skip
    """Fetch one file. count: told how many bytes have come (negative: were thrown away).

    Raises DownloadError when the hub gives up or what came is not what it promised.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    path = part_path(file, destination)
    with _opened(path) as opened:
        part = _Part(file, opened)
        for last_try in (False, True):
            _fill(part, model, file, session, count, stop)
            wrong = part.what_is_wrong
            if not wrong:
                break
            count(-part.throw_away())
            if last_try:
                raise DownloadError(
                    f"{file.path} came wrong from {model.hub.name}, twice.", evidence=wrong,
                    hint="something on the way changes it: try another hub (--hub)",
                )  # fmt: skip
        opened.flush()
        os.fsync(opened.fileno())
        os.replace(path, destination)


def _fill(
    part: _Part, model: HubModel, file: HubFile, session: requests.Session, count: Count,
    stop: threading.Event,
) -> None:  # fmt: skip
    """Append what is missing."""
    pause, tries = FIRST_PAUSE_SECONDS, 0
    while part.have < file.size:
        before, why = part.have, "the hub sent less than it promised"
        try:
            for position, chunk in _chunks(model, file, session, part.have):
                if position == 0 and part.have:  # the hub sends it all anew
                    count(-part.throw_away())
                part.add(chunk)
                count(len(chunk))
                if stop.is_set():
                    raise Interrupted
        except requests.RequestException as error:
            why = f"{type(error).__name__}: {error}"
        if part.have > before:
            pause, tries = FIRST_PAUSE_SECONDS, 0
            continue
        tries += 1
        if tries == TRIES:
            raise DownloadError(
                f"{file.path} broke off at {part.have / 1e6:.1f} of {file.size / 1e6:.1f} MB.",
                evidence=why[-200:], hint="the same command goes on from there",
            )  # fmt: skip
        if stop.wait(pause):
            raise Interrupted
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _chunks(
    model: HubModel, file: HubFile, session: requests.Session, start: int
) -> Iterator[tuple[int, bytes]]:
    """(its place in the file, bytes) from a place on, or from 0 where the hub cannot do that."""
    headers = {"Accept-Encoding": "identity"}  # compressed, a part of it would be of no use
    if start:
        headers["Range"] = f"bytes={start}-"
    limits = (CONNECT_SECONDS, SILENCE_SECONDS)
    with session.get(model.url(file), headers=headers, stream=True, timeout=limits) as answer:
        if answer.status_code == 416:  # there is nothing from that place on: what we have is wrong
            yield 0, b""
            return
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise requests.HTTPError(f"HTTP {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise refused(model.hub, model.name, answer)
        position = start if answer.status_code == 206 else 0
        for chunk in answer.iter_content(PIECE_BYTES):
            yield position, chunk
            position += len(chunk)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The part file, for us alone."""
    with path.open("ab+") as opened:
        try:
            import fcntl  # not on Windows

            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError:
            raise SetupError(
                f"Another download is fetching {path.name.rsplit('.', 2)[0]} at this moment.",
                hint="wait for it, or end it",
            ) from None
        yield opened
