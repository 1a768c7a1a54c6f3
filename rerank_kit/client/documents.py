"""Read documents out of one file: a line each, paragraphs, or JSON lines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from rerank_kit.errors import FileInputError, InputError


def read_documents(source: str, *, paragraphs: bool = False) -> list[str | dict[str, Any]]:
    """source: a path, or "-" for stdin. JSON lines are recognised by a first line that is an
    object with "text". Empty lines are left out. Raises FileInputError."""
    return documents_in(read_text(source), _name(source), paragraphs=paragraphs)


def documents_in(
    text: str, name: str = "the text", *, paragraphs: bool = False
) -> list[str | dict[str, Any]]:
    """The documents of a text, parted as read_documents() does. name: what errors call it."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise FileInputError(
            f"{name} holds no documents: it is empty.", hint="put one document on a line"
        )
    if _is_json_document(first):
        return [
            _json_document(line, number, name)
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip()
        ]
    if paragraphs:
        return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    return [line.strip() for line in text.splitlines() if line.strip()]


def texts_of(documents: Iterable[str | dict[str, Any]]) -> list[str]:
    """Their texts alone, where what else is known of them does not matter."""
    return [one if isinstance(one, str) else str(one["text"]) for one in documents]


def read_text(source: str) -> str:
    """The whole of a UTF-8 text file ("-": stdin), or a FileInputError in one sentence."""
    try:
        if source == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(source, "rb") as file:
                data = file.read()
    except FileNotFoundError:
        raise FileInputError(f"{source} does not exist.", hint="check the path") from None
    except IsADirectoryError:
        raise FileInputError(
            f"{source} is a folder; one file is needed here.", hint="name a text file in it"
        ) from None
    except OSError as error:
        raise FileInputError(
            f"{source} cannot be read.", evidence=error.strerror or str(error),
            hint="check the file's permissions",
        ) from None
    return text_of(data, _name(source))


def text_of(data: bytes, name: str) -> str:
    """The bytes of a file as text. Raises FileInputError where they are no UTF-8 text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileInputError(
            f"{name} is not UTF-8 text (byte {error.start:,} does not fit).",
            hint="save it as UTF-8; from a Chinese Windows file: iconv -f gb18030 -t utf-8",
        ) from None
    if "\x00" in text:
        raise FileInputError(
            f"{name} is not a text file: it holds zero bytes.",
            hint="extract the text first",
        )
    return text


def _is_json_document(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict) and "text" in value


def _json_document(line: str, number: int, name: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise FileInputError(
            f"Line {number} of {name} is not JSON.", evidence=str(error)
        ) from None
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise InputError(
            f'Line {number} of {name} has no "text".', hint='{"id": "7", "text": "..."}'
        )
    return value


def _name(source: str) -> str:
    return "standard input" if source == "-" else source
