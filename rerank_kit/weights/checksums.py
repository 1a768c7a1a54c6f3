"""Are the files of a model still what they were? With no network: a list of checksums that lies
beside the files (sha256sum reads it too), or the names that huggingface_hub's cache gives them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rerank_kit.errors import FileInputError, InputError, cannot_write

LIST_NAME = "SHA256SUMS"
CHUNK_BYTES = 2**20
#: A line of sha256sum's: checksum, a space, a space or * (binary), the file.
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


@dataclass(frozen=True)
class Verification:
    """What verify() found. wrong: their bytes have changed; missing: they are gone."""

    folder: Path
    checked: int
    wrong: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    against: str = LIST_NAME

    @property
    def good(self) -> bool:
        return not self.wrong and not self.missing


def write_checksums(folder: Path, known: Mapping[str, str] | None = None) -> Path:
    """Write the list for the files named, or for all in the folder. sha256sum -c checks it.
    known: {file: its checksum where somebody has just found it, else ""}. Raises FileInputError."""
    if known is None:
        known = {path.relative_to(folder).as_posix(): "" for path in folder.rglob("*")
                 if path.is_file() and _counts(path, folder)}  # fmt: skip
    lines = [f"{known[name] or _sha256(folder / name)}  {name}" for name in sorted(known)]
    path = folder / LIST_NAME
    draft = path.with_suffix(".draft")
    try:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return draft.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None


def verify(folder: Path) -> Verification:
    """Compare every file with its checksum. Raises InputError where there is none to compare
    with, FileInputError for a list that is no list."""
    folder = folder.expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder.", hint="a model's folder, or its name (0.6B)")
    if (folder / LIST_NAME).is_file():
        expected = _read_list(folder / LIST_NAME)
        return _compare(folder, expected, LIST_NAME)
    expected = {
        path.relative_to(folder).as_posix(): path.resolve().name
        for path in sorted(folder.rglob("*")) if path.is_symlink()
    }  # fmt: skip
    if not expected or not all(re.fullmatch(r"[0-9a-f]{40,64}", one) for one in expected.values()):
        raise InputError(
            f"{folder} has no {LIST_NAME} to compare with.",
            hint="rerank-kit verify --write FOLDER, where the files are known to be good",
        )
    return _compare(folder, expected, "the hub's checksums in the cache")


def _compare(folder: Path, expected: dict[str, str], against: str) -> Verification:
    missing = [name for name in expected if not (folder / name).is_file()]
    wrong = [name for name, checksum in expected.items() if name not in missing
             and _checksum(folder / name, len(checksum)) != checksum]  # fmt: skip
    return Verification(folder, len(expected), tuple(wrong), tuple(missing), against)


def _read_list(path: Path) -> dict[str, str]:
    expected = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is None or ".." in Path(found[2]).parts or Path(found[2]).is_absolute():
            raise FileInputError(f"{path} is no list of checksums.", evidence=line[:80],
                                 hint="rerank-kit verify --write, or copy it again")  # fmt: skip
        expected[found[2]] = found[1]
    if not expected:
        raise FileInputError(f"{path} is empty.", hint="rerank-kit verify --write")
    return expected


def _counts(path: Path, folder: Path) -> bool:
    inside = path.relative_to(folder)
    return path.name != LIST_NAME and not path.name.endswith((".part", ".draft")) and not any(
        part.startswith(".") for part in inside.parts
    )


def _checksum(path: Path, digits: int) -> str:
    """sha256 (64 digits), or the checksum that git gives a file (40)."""
    if digits == 64:
        return _sha256(path)
    head = b"blob %d\0" % path.stat().st_size
    return hashlib.sha1(head + path.read_bytes(), usedforsecurity=False).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
