"""Logs that were saved with the newest line first, as the pages of log collectors list them.

Read so, a failure's consequence stands before its cause. Such a log is read from its end.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

CHUNK_BYTES = 1 << 20
#: The order of a log is told by so many lines.
LINES_LOOKED_AT = 5000
#: A log whose times fall less often, or not much more often than they rise, is an ordinary one:
#: several processes write at the same time, and files are joined.
FALLS, FALLS_FOR_A_RISE = 2, 4
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
           b"Dec")  # fmt: skip
_TIME = re.compile(
    rb"(?<!\d)(?:(?:\d{4}-)?(?P<month>\d\d)-(?P<day>\d\d)|(?P<name>" + b"|".join(_MONTHS) + rb") "
    rb"{1,2}(?P<date>\d{1,2}))[ T](?P<time>\d\d:\d\d:\d\d(?:[.,]\d+)?)"
)


@dataclass(frozen=True)
class Backwards:
    """A file to be read from its last line to its first. lines: how many it has."""

    path: Path
    lines: int

    def blocks(self) -> Iterator[bytes]:
        """Pieces of whole lines in the order of time, each without its last line's end."""
        with self.path.open("rb") as file:
            left = file.seek(0, os.SEEK_END)
            rest = b""  # the end of a line whose beginning was not read yet
            first = True
            while left > 0:
                size = min(CHUNK_BYTES, left)
                left -= size
                file.seek(left)
                data = file.read(size) + rest
                if first:
                    data, first = data.removesuffix(b"\n"), False
                rest, newline, whole = data.partition(b"\n")
                if newline:
                    yield b"\n".join(reversed(whole.split(b"\n")))
            yield rest


def oldest_first(source: Path | Iterable[str]) -> Path | Iterable[str] | Backwards:
    """The log as it is, or to be read backwards when its newest line stands first. What comes
    from a pipe is then kept in a file, for it cannot be read twice."""
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                head = file.read(CHUNK_BYTES).split(b"\n")[:LINES_LOOKED_AT]
            return _backwards(source) if is_newest_first(head) else source
        except OSError:
            return source  # reading it says what is wrong
    lines = iter(source)
    begin = list(islice(lines, LINES_LOOKED_AT))
    if not is_newest_first(line.encode("utf-8", "replace") for line in begin):
        return chain(begin, lines)
    with tempfile.NamedTemporaryFile("w", suffix=".log", delete=False, encoding="utf-8",
                                     errors="replace") as kept:  # fmt: skip
        kept.writelines(line.removesuffix("\n") + "\n" for line in chain(begin, lines))
    return _backwards(Path(kept.name), temporary=True)


def is_newest_first(lines: Iterable[bytes]) -> bool:
    """Whether the times of these lines run backwards.

    >>> is_newest_first([b"11-18 10:02:03 c", b"11-18 10:02:02 b", b"11-18 10:02:01 a"])
    True
    """
    before: tuple[bytes, bytes, bytes] | None = None
    rises = falls = 0
    for line in lines:
        found = _TIME.search(line, 0, 200)
        if not found:
            continue
        month = found["month"] or b"%02d" % (1 + _MONTHS.index(found["name"]))
        now = (month, (found["day"] or found["date"]).zfill(2), found["time"])
        if before is not None:
            rises, falls = rises + (now > before), falls + (now < before)
        before = now
    return falls >= FALLS and falls > FALLS_FOR_A_RISE * rises


def _backwards(path: Path, *, temporary: bool = False) -> Backwards:
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            count += data.count(b"\n")
            last = data[-1:]
    found = _Temporary if temporary else Backwards
    return found(path, count + (last != b"\n"))


class _Temporary(Backwards):
    """Of a pipe: the file is removed when it has been read."""

    def blocks(self) -> Iterator[bytes]:
        try:
            yield from super().blocks()
        finally:
            self.path.unlink(missing_ok=True)
