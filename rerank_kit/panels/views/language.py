"""The panels in another language: their words are looked up with rerank_kit.language.

A panel is written in English. After it has brought its widgets up to date, their labels, options
and our own words in their HTML are replaced by their translation. Texts of the user are never
looked up: only headings, captions, status lines and buttons are, never a cell of a table that
holds documents.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator
from html.parser import HTMLParser
from typing import Any

from rerank_kit.errors import InputError
from rerank_kit.language import LANGUAGES, asked_for, language_of, translated

_TRAITS = ("description", "tooltip", "placeholder", "_options_labels")
#: Where our own words stand in HTML; everything else may be the user's.
_OUR_TAGS = {"h2", "h3", "th"}
_OUR_CLASSES = {
    "rk-soft", "rk-status", "rk-ours", "rk-card", "rk-links", "rk-legend", "rk-problem",
}  # fmt: skip
#: Attributes with words, always our own.
_SPOKEN = {"aria-label", "title"}
_THEIR_TAGS = {"code", "pre", "td"}
_THEIR_CLASS = "rk-theirs"  # a heading that is the user's query
#: Tables in which every word is ours (their aria-label).
_OUR_TABLES = {
    "memory term by term", "all models on this device", "money so far", "settings tried",
    "what each step cost", "verdict",
}  # fmt: skip


def default_language() -> str:
    """That of RERANK_KIT_LANGUAGE: en (the default) or zh, and its common spellings."""
    return checked(asked_for())


def checked(name: str) -> str:
    """The key of a language. Raises InputError for one that the panels do not speak."""
    found = language_of(name)
    if found is None:
        raise InputError(
            f"The panels do not speak {name!r}.", hint=f"use one of {', '.join(LANGUAGES)}"
        )
    return found


class Words:
    """Shows the widgets of one panel in a language, and brings the English back."""

    def __init__(self) -> None:
        #: (widget, trait) -> the English, and what was shown for it
        self._kept: dict[tuple[str, str], tuple[Any, Any]] = {}

    def show(self, root: Any, language: str) -> None:
        """Put the words of a panel's widgets into a language."""
        if language == "en" and not self._kept:
            return
        for widget in own_widgets(root):
            for trait in (*_TRAITS, "value") if _is_html(widget) else _TRAITS:
                if not widget.has_trait(trait):
                    continue
                shown = getattr(widget, trait)
                if not shown:
                    continue
                key = (widget.model_id, trait)
                english, last = self._kept.get(key, (shown, shown))
                if shown != last:  # the panel has written anew
                    english = shown
                new = english if language == "en" else _translated(english, trait)
                if new != shown:
                    widget.set_trait(trait, new)  # the labels of options are read-only
                self._kept[key] = (english, new)


def own_widgets(root: Any) -> Iterator[Any]:
    """The widgets of a panel, without those of panels inside it."""
    yield root
    for child in getattr(root, "children", ()):
        if "rk" not in child._dom_classes:
            yield from own_widgets(child)


def passages(widget: Any) -> Iterator[str]:
    """Every piece of text of a widget that is looked up; the tests ask that all are known."""
    for trait in _TRAITS:
        shown = getattr(widget, trait, None) if widget.has_trait(trait) else None
        yield from (shown if isinstance(shown, tuple) else [shown] if shown else [])
    if _is_html(widget):
        pieces = _Pieces(lambda text: text)
        pieces.feed(widget.value)
        yield from pieces.ours


def page_in(language: str, page: str, theirs: Collection[str] = ()) -> str:
    """A whole page of ours in a language. theirs: texts of the user that stand in it."""
    if language == "en":
        return page
    pieces = _Pieces(lambda text: text if text.strip() in theirs else translated(text), whole=True)
    pieces.feed(page)
    pieces.close()
    return "".join(pieces.out).replace('<html lang="en">', '<html lang="zh-CN">', 1)


def _is_html(widget: Any) -> bool:
    return widget._model_name == "HTMLModel" and not widget.value.startswith("<style")


def _translated(english: Any, trait: str) -> Any:
    if isinstance(english, tuple):
        return tuple(translated(one) for one in english)
    if trait != "value":
        return translated(english)
    pieces = _Pieces(translated)
    pieces.feed(english)
    pieces.close()
    return "".join(pieces.out)


class _Pieces(HTMLParser):
    """Reads HTML and writes it again, with our own words replaced. whole: all words are ours."""

    def __init__(self, replace: Any, *, whole: bool = False) -> None:
        super().__init__(convert_charrefs=True)
        self._whole = whole
        self.out: list[str] = []
        self.ours: list[str] = []
        self._replace = replace
        self._open: list[tuple[str, bool | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._write_tag(attrs)
        if tag in ("br", "i", "img"):  # void, or a bar without words
            if tag != "i":
                return
        known = dict(attrs)
        classes = set((known.get("class") or "").split())
        ours: bool | None = None
        if _THEIR_CLASS in classes or (
            tag in _THEIR_TAGS
            and "rk-ours" not in classes
            and not (tag == "td" and self._in_our_table())
        ):
            ours = False
        elif tag in _OUR_TAGS | {"td"} or _OUR_CLASSES & classes:
            ours = True
        label = known.get("aria-label") if tag == "table" else None
        self._open.append((f"table:{label}" if label else tag, ours))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._write_tag(attrs)

    def _write_tag(self, attrs: list[tuple[str, str | None]]) -> None:
        """The tag as it was, with what a reader of screens says in the language."""
        text = self.get_starttag_text() or ""
        for name, value in attrs:
            if name in _SPOKEN and value:
                self.ours.append(value)
                before, quote, rest = re.split(f"{name}=(['\"])", text, maxsplit=1)
                after = rest.partition(quote)[2]
                text = f"{before}{name}={quote}{html.escape(self._replace(value))}{quote}{after}"
        self.out.append(text)

    def handle_endtag(self, tag: str) -> None:
        self.out.append(f"</{tag}>")
        while self._open:
            if self._open.pop()[0].split(":")[0] == tag:
                break

    def handle_decl(self, decl: str) -> None:
        self.out.append(f"<!{decl}>")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:  # a style sheet
            self.out.append(data)
            return
        if data.strip() and self._is_ours():
            self.ours.append(data.strip())
            data = self._replace(data)
        self.out.append(html.escape(data, quote=False))

    def _is_ours(self) -> bool:
        if self._whole:
            return True
        said = [ours for _, ours in self._open if ours is not None]
        return False not in said and True in said

    def _in_our_table(self) -> bool:
        return any(name.removeprefix("table:") in _OUR_TABLES for name, _ in self._open)
