"""Reads translation pairs, names and docstrings from the pinned archives (archives.py)."""

from __future__ import annotations

import ast
import gettext
import io
import json
import re
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import babel

from .archives import ARCHIVES, Archive, fetch

HAN = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Pair:
    """The same thing said in Chinese and in English."""

    source: str
    zh: str
    en: str


@dataclass(frozen=True)
class Docstring:
    """The first sentence of a docstring and what follows it."""

    source: str
    head: str
    body: str


def clean_message(text: str) -> str:
    """Strip what is no language from a message: context, markup, placeholders, shortcuts."""
    text = text.split("\x04")[-1]
    text = re.sub(r"<[^>]+>", " ", text)
    text = re.sub(r"%\(\w+\)[sdif]|%[sdif]|%\d+|\{\{?\s*[\w.]*\s*\}?\}", " ", text)
    text = re.sub(r"\([&_]\w\)", "", text)
    text = re.sub(r"[&_](?=\w)", "", text)
    text = re.sub(r"[\x00-\x1f]", " ", text)
    return re.sub(r"\s+", " ", text).strip()


def is_simplified_catalogue(name: str) -> bool:
    """Whether a path inside an archive is a compiled catalogue in simplified Chinese."""
    return bool(re.search(r"/(zh|zh_CN|zh_Hans|zh_Hans_CN)/LC_MESSAGES/[^/]+\.mo$", name))


def read_messages(archive: Archive, path: Path) -> list[Pair]:
    """Every usable Chinese-English message of the archive's catalogues, each once."""
    pairs: dict[str, Pair] = {}
    with zipfile.ZipFile(path) as zipped:
        for name in sorted(filter(is_simplified_catalogue, zipped.namelist())):
            catalogue = gettext.GNUTranslations(io.BytesIO(zipped.read(name)))
            for key, value in catalogue._catalog.items():
                english = clean_message(key if isinstance(key, str) else key[0])
                chinese = clean_message(value)
                if 3 <= len(english) <= 400 and 2 <= len(HAN.findall(chinese)) <= 200:
                    pairs.setdefault(english, Pair(archive.project, chinese, english))
    return list(pairs.values())


def docstrings_of(source: str, code: str) -> list[Docstring]:
    """The docstrings of one Python file that have a head and a body."""
    found = []
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        if not text or "\n\n" not in text:
            continue
        head, body = (re.sub(r"\s+", " ", part).strip() for part in text.split("\n\n", 1))
        starts_with_fields = re.match(r"(:param|args:|parameters|returns|:return)", body.lower())
        if 15 < len(head) < 160 and len(body) >= 60 and not starts_with_fields:
            found.append(Docstring(source, head.rstrip("."), body[:500]))
    return found


def read_docstrings(archive: Archive, path: Path) -> list[Docstring]:
    """The docstrings of the archive's own Python files (no tests, no bundled other projects)."""
    found = []
    with zipfile.ZipFile(path) as zipped:
        for name in sorted(zipped.namelist()):
            skipped = re.search(r"/(tests?|migrations|vendor|_vendor|external)/", name)
            if name.endswith(".py") and not skipped:
                code = zipped.read(name).decode("utf-8", errors="ignore")
                found += docstrings_of(archive.project, code)
    return found


def read_standard_library() -> list[Docstring]:
    """The docstrings of the running Python's standard library (so they vary with its version)."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for path in sorted(folder.rglob("*.py")):
        skipped = {
            "test",
            "tests",
            "site-packages",
            "idlelib",
            "lib2to3",
            "ensurepip",
            "turtledemo",
        }
        if not skipped & set(path.relative_to(folder).parts):
            code = path.read_text(encoding="utf-8", errors="ignore")
            found += docstrings_of("Python standard library", code)
    return found


def read_emoji_names(archive: Archive, path: Path) -> list[Pair]:
    """Names of everyday things: every emoji's CLDR short name in both languages."""
    with zipfile.ZipFile(path) as zipped:
        english = json.loads(zipped.read("emoji/unicode_codes/emoji.json"))
        chinese = json.loads(zipped.read("emoji/unicode_codes/emoji_zh.json"))
    pairs = {}
    for symbol, name in sorted(chinese.items()):
        zh = name.strip(":").replace("_", " ")
        en = english.get(symbol, {}).get("en", "").strip(":").replace("_", " ")
        if en and len(HAN.findall(zh)) >= 1 and "skin tone" not in en:
            pairs[en] = Pair(archive.project, zh, en)
    return list(pairs.values())


def read_cldr_names() -> list[Pair]:
    """City, territory, language, month and weekday names of Unicode CLDR, through Babel."""
    zh, en = babel.Locale("zh"), babel.Locale("en")
    tables = [(zh.territories, en.territories), (zh.languages, en.languages)]
    for kind in ("months", "days"):
        zh_table, en_table = getattr(zh, kind), getattr(en, kind)
        tables.append((zh_table["format"]["wide"], en_table["format"]["wide"]))
    pairs = []
    for zone, names in sorted(zh.time_zones.items()):
        if HAN.search(names.get("city", "")):
            city = zone.rsplit("/", 1)[-1].replace("_", " ")
            pairs.append(Pair("Unicode CLDR", names["city"], city))
    for chinese, english in tables:
        for key in sorted(set(chinese) & set(english), key=str):
            if HAN.search(chinese[key]):
                pairs.append(Pair("Unicode CLDR", chinese[key], english[key]))
    return pairs


def without_repeated(items: list, key) -> list:
    """Keep the first of several items with the same key."""
    seen, kept = set(), []
    for item in items:
        if key(item) not in seen:
            seen.add(key(item))
            kept.append(item)
    return kept


def read_everything() -> dict:
    """All third-party text: {"messages": [...], "names": [...], "docstrings": [...]}."""
    messages, names, docstrings = [], read_cldr_names(), read_standard_library()
    for archive in ARCHIVES:
        path = fetch(archive)
        if "messages" in archive.used_for:
            messages += read_messages(archive, path)
        if "docstrings" in archive.used_for:
            docstrings += read_docstrings(archive, path)
        if archive.used_for == "names":
            names += read_emoji_names(archive, path)
    return {
        "messages": without_repeated(messages, lambda pair: pair.en.lower()),
        "names": without_repeated(names, lambda pair: (pair.zh, pair.en.lower())),
        "docstrings": without_repeated(docstrings, lambda item: item.head.lower()),
    }
