"""The Chinese of an English text, looked up in gettext catalogues.

A message with {names} in it stands for any text there: "document {number} was left out" finds
"document 3 was left out". Where such a place holds words of ours (_OUR_PARTS), they are looked up
in their turn. A text that no message fits stays English.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from rerank_kit.language.choice import asked_for, language_of

#: One file for each concern.
CATALOGUES = (
    "causes_zh_CN.po", "failures_zh_CN.po", "doctor_zh_CN.po", "errors_zh_CN.po",
    "verdict_zh_CN.po", "exercises_zh_CN.po", "machine_zh_CN.po",
    "commands_zh_CN.po", "panels_zh_CN.po",
)  # fmt: skip
#: The places in a message where words of ours stand; what fills the others is left as it is.
_OUR_PARTS = {
    "purpose", "verdict", "why", "said", "stage", "doing", "what", "begin", "title", "source",
    "hint", "means", "who", "taken", "hub",
}  # fmt: skip
_SENTENCES = re.compile(r"(?<=\.) (?=[A-Z0-9`]|vLLM)")


def localised(text: str) -> str:
    """A text in the language of RERANK_KIT_LANGUAGE. English where that is not one of ours, or
    where Babel, which reads the catalogues, is not installed (it comes with the notebooks)."""
    try:
        return translated(text) if language_of(asked_for()) == "zh" else text
    except ModuleNotFoundError:
        return text


def translated(text: str) -> str:
    """The Chinese of a text; a text that the catalogue does not know stays as it is."""
    core = text.strip()
    if not re.search(r"[A-Za-z]", core):
        return text
    exact, patterns = _catalogue()
    found = exact.get(core) or _sentence_by_sentence(core) or _clause_by_clause(core)
    if found is None:
        for pattern, chinese in patterns:
            match = pattern.fullmatch(core)
            if match:
                parts = {
                    name: translated(part) if name in _OUR_PARTS else part
                    for name, part in match.groupdict().items()
                }
                found = chinese.format(**parts)
                break
    return text if found is None else text.replace(core, found)


def sentences(text: str) -> list[str]:
    """The sentences of a text, as they are looked up."""
    return _SENTENCES.split(text)


def _sentence_by_sentence(text: str) -> str | None:
    """The Chinese of a text of several sentences; None unless every one is known. (A diagnosis
    leaves those out whose numbers the log does not have.)"""
    said = sentences(text)
    if len(said) < 2:
        return None
    found = [translated(one) for one in said]
    return None if any(map(str.__eq__, found, said)) else "".join(found)


def _clause_by_clause(text: str) -> str | None:
    """The Chinese of known clauses with semicolons between them; None unless all are known. (The
    doctor puts the ends of its advice together.)"""
    clauses = text.split("; ")
    if len(clauses) < 2:
        return None
    found = [translated(one) for one in clauses]
    return None if any(map(str.__eq__, found, clauses)) else "；".join(found)


@cache
def _catalogue() -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    from babel.messages.pofile import read_po

    messages: dict[str, str] = {}
    for name in CATALOGUES:
        with (files("rerank_kit.language") / name).open("rb") as file:
            found = read_po(file)
        messages |= {str(one.id): str(one.string) for one in found if one.id and one.string}
    exact = {english: chinese for english, chinese in messages.items() if "{" not in english}
    # The most special message wins: one that begins with words of its own ("note: {what}") before
    # one that begins with a place ("{name} was left out: {what}"), then the longer one.
    templates = sorted(
        (one for one in messages if one not in exact), key=lambda one: (one[0] == "{", -len(one))
    )
    return exact, [(_pattern(one), messages[one]) for one in templates]


def _pattern(message: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", message)
    return re.compile(
        "".join(
            f"(?P<{part}>{_filled_by(part)}+?)" if place % 2 else re.escape(part)
            for place, part in enumerate(parts)
        )
    )


def _filled_by(name: str) -> str:
    """A place called count stands for one word, a number: "{count} ms" is no end of a sentence.
    One called lines may go on for several."""
    return {"count": r"\S", "lines": "(?s:.)"}.get(name, ".")
