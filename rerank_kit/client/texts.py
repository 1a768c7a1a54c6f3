"""What the user passed -> texts that can be sent, or an InputError that names the bad one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerank_kit.errors import InputError
from rerank_kit.prompt import neutralise


@dataclass(frozen=True)
class Document:
    """A document as the user gave it, and as it is sent."""

    id: str | None
    text: str
    harmless: str
    control_tokens: tuple[str, ...]


def listed(values: Any) -> list[Any]:
    """An ordered collection as a list. A single text, a mapping or a set is refused."""
    if isinstance(values, set | frozenset):
        raise InputError(
            "a list is needed here, not a set: a set has no order",
            hint="sort it into a list first",
        )
    if isinstance(values, str | bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        raise InputError(
            f"a list is needed here, not {shown(values)}",
            hint='put a single text into a list: ["..."]',
        )
    return list(values)


def document(item: Any, what: str) -> Document:
    """A string, or a mapping with "text" and optionally "id"."""
    identifier, text = None, item
    if isinstance(item, Mapping):
        if "text" not in item:
            raise InputError(f'{what} has no "text": {shown(item)}')
        identifier = None if item.get("id") is None else str(item["id"])
        text = item["text"]
    harmless, found = clean(text, what)
    return Document(identifier, str(text), harmless, found)


def clean(value: Any, what: str) -> tuple[str, tuple[str, ...]]:
    """The text with its control tokens broken, and those tokens."""
    if not isinstance(value, str):
        hint = 'decode it first: text.decode("utf-8")' if isinstance(value, bytes) else ""
        raise InputError(f"{what} must be a text, not {shown(value)}", hint=hint)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} is not valid text: it has half a character at position {error.start}.",
            hint="read the file with its right encoding",
        ) from None
    return neutralise(value)


def pair(item: Any, what: str) -> tuple[str, str]:
    """A (query, document) pair, cleaned."""
    if isinstance(item, str | bytes) or not isinstance(item, Sequence) or len(item) != 2:
        raise InputError(f"{what} is not a (query, document) pair: {shown(item)}")
    return clean(item[0], f"query of {what}")[0], clean(item[1], f"document of {what}")[0]


def instruction_text(value: Any, what: str = "instruction") -> str | None:
    """The wording to send; None and an empty text both mean the server's default."""
    return None if value is None else clean(value, what)[0] or None


def whole_number(name: str, value: Any, at_least: int = 1) -> int | None:
    """None, or a whole number that is large enough."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be a whole number, not {value!r}.")
    if value < at_least:
        raise InputError(f"{name} must be at least {at_least}, not {value}.")
    return value


def finite_number(name: str, value: Any) -> float | None:
    """None, or a number that is neither infinite nor NaN."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} must be a number, not {value!r}.")
    return float(value)


def shown(value: Any) -> str:
    """A value in an error message: its type and its beginning."""
    text = repr(value)
    return f"{type(value).__name__} {text[:60]}{'…' if len(text) > 60 else ''}"
