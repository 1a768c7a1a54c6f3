"""A whole file of pairs -> a file of scores, in order. Killed in the middle, it goes on where it
stopped: no pair is lost and none is scored twice."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from rerank_kit.client import texts
from rerank_kit.client.jobs import Outcome, Pair, Settings
from rerank_kit.client.reranker import Reranker
from rerank_kit.errors import FileInputError, InputError

#: Pairs scored between two writes: two full requests, so at most these are scored again after
#: a kill, and they are written once.
PAIRS_PER_WRITE = 512
_FIELDS = ("query", "document", "instruction")


@dataclass(frozen=True)
class FileReport:
    """What score_file did. unscored: the lines of OUT whose score is null, with the reason."""

    pairs: int
    found_done: int
    unscored: tuple[int, ...]
    seconds: float

    @property
    def scored_now(self) -> int:
        return self.pairs - self.found_done


def score_file(
    reranker: Reranker,
    pairs_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> FileReport:
    """Score every line of a JSON lines file with `query`, `document` and optionally
    `instruction`; write the same line with `score` and `model` to out_path, in the same order.

    A pair that cannot be scored gets `score` null and `error`. The whole file is checked first:
    a bad line is named before anything is scored. An out_path that holds the beginning of this
    very job (same pairs, model and kind of score) is continued; another file is never touched.
    Raises FileInputError, InputError and the RequestErrors; what is written stays.
    """
    began = time.monotonic()
    settings = settings or Settings()
    source, target = Path(pairs_path), Path(out_path)
    total = _check(source)
    if target.exists() and target.samefile(source):
        raise InputError("The file of scores cannot be the file of pairs itself.")
    stamp = {"model": reranker.model} | ({"raw": True} if settings.raw_scores else {})
    unscored: list[int] = []
    with _locked(target) as out:
        done = _resume(source, target, out, stamp, unscored)
        on_progress(done, total)
        rows = islice(_rows(source), done, None)
        place = done
        while batch := list(islice(rows, PAIRS_PER_WRITE)):
            pairs = [_pair(row, place + i) for i, row in enumerate(batch)]
            outcomes = reranker.score_pairs(pairs, settings)
            lines = []
            for row, outcome in zip(batch, outcomes, strict=True):
                place += 1
                if outcome.score is None:
                    unscored.append(place)
                lines.append(json.dumps(_line(row, outcome, stamp), ensure_ascii=False) + "\n")
            out.write("".join(lines).encode())
            out.flush()
            os.fsync(out.fileno())
            on_progress(len(batch), total)
    return FileReport(total, done, tuple(unscored), time.monotonic() - began)


def _line(row: dict[str, Any], outcome: Outcome, stamp: dict[str, Any]) -> dict[str, Any]:
    line = row | {"score": outcome.score} | stamp
    if outcome.error is not None:
        line["error"] = outcome.error.message
    if outcome.winner is not None:
        line["passage"] = {"start": outcome.winner.start, "end": outcome.winner.end}
    if outcome.truncated:
        line["truncated"] = True
    return line


def _pair(row: dict[str, Any], place: int) -> Pair:
    query, document = texts.pair((row["query"], row["document"]), f"line {place + 1}")
    return Pair(query, document, texts.instruction_text(row.get("instruction")), row["document"])


def _check(source: Path) -> int:
    """How many pairs; a FileInputError for the first line that is none."""
    count = 0
    for number, row in enumerate(_rows(source), start=1):
        for name in _FIELDS:
            value = row.get(name)
            if value is None and name == "instruction":
                continue
            if not isinstance(value, str):
                raise FileInputError(
                    f"Line {number} of {source} has no text as {name!r}.",
                    evidence=f"{name}: {texts.shown(value)}",
                    hint='{"query": "...", "document": "..."}',
                )
            texts.clean(value, f"{name} of line {number}")
        count += 1
    if not count:
        raise FileInputError(f"{source} holds no pairs: it is empty.")
    return count


def _rows(source: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON lines file, one at a time: it may be larger than the memory."""
    try:
        with source.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield _row(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line,
                           number, source)  # fmt: skip
    except FileNotFoundError:
        raise FileInputError(f"{source} does not exist.", hint="check the path") from None
    except IsADirectoryError:
        raise FileInputError(f"{source} is a folder; one file is needed here.") from None
    except OSError as error:
        raise FileInputError(f"{source} cannot be read.", evidence=str(error.strerror)) from None


def _row(line: bytes, number: int, source: Path) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise FileInputError(
            f"Line {number} of {source} is not UTF-8 text.",
            hint="save it as UTF-8; from a Chinese Windows file: iconv -f gb18030 -t utf-8",
        ) from None
    except (ValueError, RecursionError) as error:
        said = "an empty line" if not line.strip() else str(error)
        raise FileInputError(f"Line {number} of {source} is not JSON.", evidence=said) from None
    if not isinstance(row, dict):
        raise FileInputError(
            f"Line {number} of {source} is no JSON object.", evidence=texts.shown(row)
        )
    return row


def _resume(
    source: Path, target: Path, out: IO[bytes], stamp: dict[str, Any], unscored: list[int]
) -> int:
    """How many lines are done already; a last line that was cut off by a kill is removed."""
    done, good_bytes = 0, 0
    out.seek(0)
    pairs = _rows(source)
    for line in out:
        if not line.endswith(b"\n"):
            break
        wanted = next(pairs, None)
        try:
            row = json.loads(line)
            same = wanted is not None and all(row.get(k) == v for k, v in wanted.items()
                                              if k not in ("score", "model", "raw"))  # fmt: skip
        except (ValueError, AttributeError):
            same = False
        if not same or "score" not in row:
            raise InputError(
                f"{target} is not the beginning of this job: line {done + 1} differs.",
                hint="choose another --out, or delete that file",
            )
        if any(row.get(key) != value for key, value in stamp.items()) or (
            row.get("raw") and "raw" not in stamp
        ):
            raise InputError(
                f"{target} was begun with another model or another kind of score.",
                evidence=f"model {row.get('model')!r}, raw {bool(row.get('raw'))}",
                hint="choose another --out, or delete that file",
            )
        done += 1
        if row["score"] is None:
            unscored.append(done)
        good_bytes += len(line)
    out.seek(good_bytes)
    out.truncate()
    return done


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[IO[bytes]]:
    """The file of scores, open for reading and writing, for one process only."""
    try:
        handle = os.open(target, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise FileInputError(
            f"{target} cannot be written.", evidence=error.strerror or str(error),
            hint="name a file in a folder that exists",
        ) from None
    with os.fdopen(handle, "r+b") as out:
        try:
            import fcntl
        except ImportError:  # Windows: no lock
            yield out
            return
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another process is writing {target}.", hint="wait for it, or stop it"
            ) from None
        except OSError:
            pass  # some network file systems have no locks
        yield out
