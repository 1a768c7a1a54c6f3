"""Fetches the pinned third-party archives and reads translation pairs and docstrings from them.

Only text whose licence lets the trained model be shipped is read here; NOTICE and the model card
name every archive. Nothing of these archives is stored in the repository: they are downloaded
with pip from whatever package index pip is configured for, checked against a SHA-256 and kept in
a cache folder of the user.
"""

from __future__ import annotations

import ast
import gettext
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import babel

HAN = re.compile("[\u4e00-\u9fff]")
MINUTES_FOR_ONE_DOWNLOAD = 10


@dataclass(frozen=True)
class Archive:
    """One wheel on the package index, pinned by version and content."""

    project: str
    version: str
    file_name: str
    sha256: str
    licence: str
    licence_file: str
    used_for: str


ARCHIVES = (
    Archive(
        "jupyterlab-language-pack-zh-CN",
        "4.5.post3",
        "jupyterlab_language_pack_zh_cn-4.5.post3-py2.py3-none-any.whl",
        "47cdb0c41c6b066e795c867786c9c29fde527e2bf15aa6b3e9b2bab9929304b5",
        "BSD-3-Clause",
        "jupyterlab_language_pack_zh_cn-4.5.post3.dist-info/licenses/LICENSE.txt",
        "messages",
    ),
    Archive(
        "Django",
        "5.2.19",
        "django-5.2.19-py3-none-any.whl",
        "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
        "BSD-3-Clause",
        "django-5.2.19.dist-info/licenses/LICENSE",
        "messages and docstrings",
    ),
    Archive(
        "djangorestframework",
        "3.18.3",
        "djangorestframework-3.18.3-py3-none-any.whl",
        "8544bb674846731b1e3c9b309236ee1dc412905a0aa725be2ec193ca950a7d12",
        "BSD-3-Clause",
        "djangorestframework-3.18.3.dist-info/licenses/LICENSE.md",
        "messages and docstrings",
    ),
    Archive(
        "wagtail",
        "8.0.1",
        "wagtail-8.0.1-py3-none-any.whl",
        "1e6ad5c7891a54efce1400e168298b5a2cc343b642cee89c31bf5ec30c98b26c",
        "BSD-3-Clause",
        "wagtail-8.0.1.dist-info/licenses/LICENSE",
        "messages and docstrings",
    ),
    Archive(
        "django-oscar",
        "4.2.1",
        "django_oscar-4.2.1-py3-none-any.whl",
        "adbb95ea0130859c204cc6fb221052d6d437ecbaa90800e8418a809f72645e9c",
        "BSD-3-Clause",
        "django_oscar-4.2.1.dist-info/licenses/LICENSE",
        "messages and docstrings",
    ),
    Archive(
        "spyder",
        "6.1.8",
        "spyder-6.1.8-py3-none-any.whl",
        "4da836742a7138c93392a8a0bd1a5ff40002cf92d217ef0e7bed11b522322f90",
        "MIT",
        "spyder-6.1.8.dist-info/licenses/LICENSE.txt",
        "messages and docstrings",
    ),
    Archive(
        "apache-superset",
        "6.1.0",
        "apache_superset-6.1.0-py3-none-any.whl",
        "4b5886b2d6389a32df790aeae2532ad72529bce1af93b6edf2d1b2a8bf658748",
        "Apache-2.0",
        "apache_superset-6.1.0.dist-info/licenses/LICENSE.txt",
        "messages and docstrings",
    ),
    Archive(
        "pgadmin4",
        "9.18",
        "pgadmin4-9.18-py3-none-any.whl",
        "9ea084fc416265e4fc95c9fb6e6ae0f6668d34da8670c9b65c79cea054124356",
        "PostgreSQL",
        "pgadmin4/LICENSE",
        "messages and docstrings",
    ),
    Archive(
        "emoji",
        "2.16.0",
        "emoji-2.16.0-py3-none-any.whl",
        "c4230d80640def9071599ff56b1b5950fe13a2a94c0da98c5deab12431b24330",
        "BSD-3-Clause; the names in it come from Unicode CLDR (Unicode-3.0)",
        "emoji-2.16.0.dist-info/licenses/LICENSE.txt",
        "names",
    ),
)


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


def cache_folder() -> Path:
    """Where archives are kept: outside the repository, and movable by an environment variable."""
    chosen = os.environ.get("RERANK_KIT_ARCHIVES")
    return Path(chosen) if chosen else Path.home() / ".cache" / "rerank_kit" / "archives"


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pip_command() -> list[str]:
    """A pip that can run here; environments made by uv have none of their own."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    found = shutil.which("pip")
    if found is None:
        raise RuntimeError("pip is needed to download the training archives; none was found.")
    return [found]


def fetch(archive: Archive) -> Path:
    """Download one archive unless it is in the cache; refuse any content but the pinned one."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive.file_name
    if not path.exists():
        wanted = f"{archive.project}=={archive.version}"
        options = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
        subprocess.run(
            [*pip_command(), "download", *options, wanted],
            check=True,
            timeout=MINUTES_FOR_ONE_DOWNLOAD * 60,
            stdout=subprocess.DEVNULL,
        )
    if sha256_of(path) != archive.sha256:
        raise RuntimeError(f"{archive.file_name} is not the pinned file; delete it and try again.")
    return path


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
