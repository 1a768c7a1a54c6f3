"""Turn a server's log, in whatever wrapping it was saved, into plain messages with line numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rerank_kit.errors import FileInputError
from rerank_kit.server.newest_first import Backwards
from rerank_kit.server.prefixes import strip_prefixes

CHUNK_BYTES = 1 << 20
#: Of a line longer than this only the head and the tail are read: argument dumps are long, a
#: message is not.
HEAD_CHARS, TAIL_CHARS = 6000, 3000
#: After so many lines of one shape that meant nothing, the rest of that shape is skipped unread.
FLOOD_AFTER = 40
#: The same for lines that only begin alike.
LONG_FLOOD_AFTER = 5_000
START_CHARS = 36
MAX_SHAPES = 20_000
#: After so many lines in a row that meant nothing only those are read that look like a failure
#: or a milestone; after as many again, only those that look like the end of a traceback.
SILENT_LINES = 4_000
#: The end of a file is read like its beginning.
TAIL_LINES = 3_000
UNKNOWN_SIZE = 1 << 62
_MILESTONES = (b"startup complete", b"API server version", b"Initializing a", b"args: ")
_FAILING = (b"Error", b"Exception", b"Traceback", b"illed", b"oom-kill", b"exit code")
_SUSPECT = (b"rror", b"ERROR", b"xception", b'File "', b"OOM", b"out of memory", b"HTTP/")
_SURELY = _FAILING + _MILESTONES
_LOOKED_FOR = _SUSPECT + _SURELY
_TRACE_END = re.compile(
    rb"(?:^|[])|:>] ?)[\w.]*(?:Error|Exception)(?:: |$)|Traceback \(most|Killed|[Kk]illed process"
    rb"|oom-kill|exit code|" + b"|".join(_MILESTONES)
)

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
#: Another program's record, in logfmt, of a line that ours wrote.
_LOGFMT = re.compile(r'(?:time|ts)="?[^" ]+"? level=\w+ msg="(?P<message>(?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"#033\[[\d;]*m|#015$")  # as syslog writes colours and line ends
#: Where a paste has joined the lines of one process into one.
_JOINED = re.compile(r"(?<=\S) (?=\((?:APIServer|Engine\w+|Vllm\w+|Worker\w*)[^()]* pid=\d+\) )")
#: Where a collector has joined the lines of one traceback.
_JOINED_TRACE = re.compile(
    r"\s+(?=File \"[^\"]+\", line \d+, in )|\s+(?=(?:\w+\.)*\w+(?:Error|Exception|Exit): )"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class LogLine:
    """One message. number counts the log's own lines from 1; text keeps its indentation."""

    number: int
    text: str
    level: str | None  # DEBUG, INFO, WARNING, ERROR, or None when the line names none
    stream: str  # which process wrote it, "" when the line does not say
    shown: str  # the line as a person would read it: without colours and control characters


class LogReader:
    """Iterates over the messages of a log, in order, in constant memory.

    Lines of a shape (the line without its digits) that came up many times and were never said
    to matter are skipped unread: statistics, leaked-instance notices, access logs.

    source: a file, its lines, or a file to be read backwards. Iterating raises FileInputError for
    a file that cannot be read.
    """

    def __init__(
        self, source: Path | Iterable[str] | Backwards, words: tuple[str, ...] = ()
    ) -> None:
        """words: read only lines that hold one of them (all lines when there are none)."""
        self._source = source
        self._words = tuple(word.encode() for word in words)
        self._shapes: dict[bytes, int] = {}
        self._starts: dict[bytes, int] = {}
        self._shape = b""
        self._silent = 0.0
        self._common = b""  # what a collector writes before every line
        self.number = 0
        self.read_all_until = 0  # up to this line every one is read, whatever it holds

    def matters(self) -> None:
        """The current line says something: go on reading lines of its shape."""
        self._shapes[self._shape] = self._starts[self._shape[:START_CHARS]] = 0
        self._silent = 0

    def look_again(self) -> None:
        """Something changed: lines that were skipped so far may matter from now on."""
        self._shapes.clear()
        self._starts.clear()
        self._silent = 0

    def __iter__(self) -> Iterator[LogLine]:
        left = _size(self._source)
        for block in _blocks(self._source):
            if self.number == 0:
                self._common = _common_words(block)
            left -= CHUNK_BYTES
            if left > 0 and self._is_flood(block):
                self.number += block.count(b"\n") + 1
                continue
            lines = block.split(b"\n")
            tail = max(0, len(lines) - TAIL_LINES) if left <= 0 else len(lines)
            yield from self._read(lines[:tail])
            if tail < len(lines):
                self._silent = 0
                yield from self._read(lines[tail:])

    def _is_flood(self, block: bytes) -> bool:
        if self._silent < SILENT_LINES or self.number <= self.read_all_until:
            return False
        words = _SURELY if self._silent >= 2 * SILENT_LINES else _LOOKED_FOR
        return not any(map(block.__contains__, words))

    def _read(self, lines: list[bytes]) -> Iterator[LogLine]:
        for raw in lines:
            self.number += 1
            if self._silent >= SILENT_LINES and not self._is_suspect(raw):
                continue
            shape = raw.translate(None, b"0123456789abcdef-.:")[:160]
            seen = self._shapes.get(shape, 0)
            if seen >= FLOOD_AFTER:
                continue
            start = shape[:START_CHARS]
            alike = self._starts.get(start, 0)
            if alike >= LONG_FLOOD_AFTER:
                continue
            if self.number > self.read_all_until and not self._may_tell(raw):
                self._silent += 0.1  # to find that out costs a tenth of reading it
                continue
            if len(self._shapes) >= MAX_SHAPES or len(self._starts) >= MAX_SHAPES:
                self._shapes.clear()
                self._starts.clear()
            self._silent += 1
            self._shapes[shape], self._starts[start] = seen + 1, alike + 1
            self._shape = shape
            if self._common:
                raw = raw.removeprefix(self._common)
            yield from parse_line(raw, self.number)

    def _is_suspect(self, raw: bytes) -> bool:
        if self._silent >= 2 * SILENT_LINES:
            if not any(map(raw.__contains__, _SURELY)) or not _TRACE_END.search(raw):
                return False
            if b"Traceback" in raw:
                self._silent = SILENT_LINES  # its places say where the server was
            return True
        return self.number <= self.read_all_until or any(map(raw.__contains__, _LOOKED_FOR))

    def _may_tell(self, raw: bytes) -> bool:
        for word in self._words:
            if word in raw:
                return True
        return not self._words


#: Names of a pod and its container, with nothing after them, or of a container alone.
_NAMES = re.compile(rb"[a-z][\w.-]*-[\w.-]+ (?:[a-z][\w.-]+ )?")
_NAME = re.compile(rb"[a-z][\w.-]{2,} ")
#: A word before so many lines is a name, whatever it is.
NAMED_LINES = 10


def _common_words(block: bytes) -> bytes:
    """The names with which every one of the first lines begins, as stern writes them."""
    lines = [line for line in block.split(b"\n", 40)[:40] if line.strip()]
    for names, enough in ((_NAMES, 3), (_NAME, NAMED_LINES)):
        found = names.match(lines[0]) if len(lines) >= enough else None
        if found and all(line.startswith(found[0]) for line in lines[1:-1]):
            return found[0]
    return b""


def parse_line(raw: bytes | str, number: int = 1) -> Iterator[LogLine]:
    """The messages on one line of a log: several where a progress bar was redrawn on it.

    >>> [m] = parse_line("(EngineCore pid=7) ERROR 11-20 09:51:02 [core.py:1] ValueError: no")
    >>> m.text, m.level, m.stream
    ('ValueError: no', 'ERROR', '(EngineCore pid=7)')
    """
    text = raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw
    text = text.rstrip("\r\n").replace("\xa0", " ")  # as browsers copy spaces
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        text = text[:HEAD_CHARS] + " ... " + text[-TAIL_CHARS:]
    if text.startswith("{"):
        text = _unwrap_json(text)
    elif found := _LOGFMT.match(text):
        text = found["message"].replace('\\"', '"')
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if "#0" in text:
        text = _ESCAPED.sub("", text)
    if text.count("pid=") > 2:
        text = _JOINED.sub("\n", text)
    if "Traceback (most" in text and text.count('File "') > 1:
        text = _JOINED_TRACE.sub("\n", text)
    for piece in re.split(r"[\r\n]", text):
        piece = _CONTROL.sub("", piece)
        if piece.strip():
            message, level, stream = strip_prefixes(piece)
            yield LogLine(number, message, level, stream, piece.strip())


def _unwrap_json(text: str) -> str:
    """The message inside a line of docker's json-file driver or of a JSON logger."""
    try:
        record = json.loads(text)
    except ValueError:
        return text
    if isinstance(record, dict) and isinstance(record.get("jsonPayload"), dict):
        record = record["jsonPayload"]  # Google Cloud; its severity is that of the stream
    for key in ("log", "message", "msg", "textPayload"):
        if isinstance(record, dict) and isinstance(record.get(key), str):
            level = record.get("level") or record.get("levelname") or record.get("severity")
            if isinstance(level, str) and key != "log":
                return f"{level.upper()}: {record[key]}"
            return record[key]
    return text


def _size(source: Path | Iterable[str] | Backwards) -> int:
    source = source.path if isinstance(source, Backwards) else source
    try:
        return source.stat().st_size if isinstance(source, Path) else UNKNOWN_SIZE
    except OSError:
        return 0  # reading it says what is wrong


def _blocks(source: Path | Iterable[str] | Backwards) -> Iterator[bytes]:
    """The log in pieces of whole lines, each without its last line's end."""
    if isinstance(source, Backwards):
        yield from source.blocks()
        return
    if not isinstance(source, Path):
        lines = iter(source)
        while batch := list(islice(lines, 5000)):
            joined = "\n".join(line.removesuffix("\n").replace("\n", "\r") for line in batch)
            yield joined.encode("utf-8", errors="replace")
        return
    try:
        with source.open("rb") as file:
            start = file.read(4)
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):  # PowerShell writes UTF-16
                yield from _blocks(source.open(encoding="utf-16", errors="replace"))
                return
            rest = b""
            data = start.removeprefix(b"\xef\xbb\xbf") + file.read(CHUNK_BYTES)
            while data:
                whole, end, rest_of_data = data.rpartition(b"\n")
                if end:
                    yield rest + whole
                    rest = rest_of_data
                else:
                    rest += data
                if len(rest) > 4 * CHUNK_BYTES:  # one endless line is not a log line
                    rest = rest[:HEAD_CHARS] + rest[-TAIL_CHARS:]
                data = file.read(CHUNK_BYTES)
            if rest:
                yield rest
    except OSError as error:
        raise FileInputError(
            f"The log {source} cannot be read.",
            evidence=str(error.strerror or error),
            hint="Name the file that the server's output was written to; `-` reads the input.",
        ) from None
