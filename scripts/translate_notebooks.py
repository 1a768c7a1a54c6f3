"""Make the Chinese edition of the notebooks from the English ones and their gettext catalogues.

The English notebook is the one source. `notebooks/zh-CN/NN_name.po` holds a message for every
Markdown cell and for every comment in a code cell; the code itself, its output and the cell ids
are taken over unchanged, so what a test has run in English is what a Chinese reader runs. Babel
reads, updates and writes the catalogues; any gettext editor can edit them.

  python scripts/translate_notebooks.py            update the catalogues, write the notebooks
  python scripts/translate_notebooks.py --check    change nothing; name what is untranslated or
                                                   stale, exit status 1 when there is any
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from notebook_rules import BADGES_ID, NOTEBOOKS, source_of

CHINESE = NOTEBOOKS / "zh-CN"
LOCALE = "zh_Hans_CN"
LINK = re.compile(r"\]\(([^)]+)\)")
_UNWANTED_HEADER = re.compile(
    r'"(Project-Id|Report-Msgid|POT-|PO-|Last-Translator|Language-Team|Generated-By)'
)


@dataclass(frozen=True)
class Passage:
    """A text to translate, and the cell where it stands."""

    text: str
    cell: str


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing, only look")
    options = parser.parse_args()
    catalogues = sorted(CHINESE.glob("*.po"))
    if not catalogues:
        print(f"no catalogue in {CHINESE}: make an empty file NN_name.po for a notebook")
        return 1
    found = []
    for path in catalogues:
        if not options.check:
            make_edition(path)
        problems = problems_of(path)
        found += problems
        count = len(passages_of(source_for(path)))
        print(f"{path.stem}: {count} passages, {len(problems)} to look at")
    print("\n".join(found))
    return 1 if found else 0


def make_edition(catalogue: Path) -> None:
    """Bring a catalogue in step with its English notebook, and write the Chinese one."""
    update(catalogue)
    target_of(catalogue).write_text(written(edition_of(catalogue)), encoding="utf-8")


def source_for(catalogue: Path) -> dict[str, Any]:
    """The English notebook of a catalogue."""
    path = NOTEBOOKS / f"{catalogue.stem}.ipynb"
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def target_of(catalogue: Path) -> Path:
    return catalogue.with_suffix(".ipynb")


def passages_of(notebook: dict[str, Any]) -> list[Passage]:
    """Every Markdown cell, and every comment of a code cell that has a word in it."""
    found = []
    for cell in notebook["cells"]:
        if cell["id"] == BADGES_ID:
            continue  # links and pictures only (scripts/badges.py)
        if cell["cell_type"] == "markdown":
            found.append(Passage(source_of(cell), cell["id"]))
        else:
            found += [Passage(text, cell["id"]) for _, text in _comments(source_of(cell))]
    return found


def _comments(source: str) -> Iterator[tuple[tuple[int, int], str]]:
    """((row, column), text) of each comment in a code cell."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = token.string.lstrip("# ")
        if token.type == tokenize.COMMENT and re.search(r"[a-z]{2}", text):
            yield (token.start[0] - 1, token.start[1]), text


def update(catalogue: Path) -> None:
    """Take new and changed passages into a catalogue; a changed passage loses its translation
    (the old one stays beside it as an obsolete entry, for the translator)."""
    old = _read(catalogue)
    template = Catalog(locale=LOCALE)
    for passage in passages_of(source_for(catalogue)):
        template.add(passage.text, locations=[(passage.cell, 0)])
    old.update(template, no_fuzzy_matching=True)
    old.header_comment = (
        f"# Simplified Chinese of notebooks/{catalogue.stem}.ipynb.\n"
        "# scripts/translate_notebooks.py keeps it in step and makes the notebook from it."
    )
    with catalogue.open("wb") as file:
        write_po(file, old, width=98, omit_header=False, include_lineno=False, ignore_obsolete=True)
    # Only what gettext needs of the header: dates would change a file in which nothing changed.
    text = catalogue.read_text(encoding="utf-8").replace("#, fuzzy\n", "", 1)
    kept = [line for line in text.splitlines() if not _UNWANTED_HEADER.match(line)]
    catalogue.write_text("\n".join(kept).rstrip() + "\n", encoding="utf-8")


def _read(catalogue: Path) -> Catalog:
    with catalogue.open("rb") as file:
        return read_po(file, locale=LOCALE)


def translations_of(catalogue: Path) -> dict[str, str]:
    """English passage -> Chinese passage, those that have one."""
    messages = ((one.id, one.string) for one in _read(catalogue) if one.id)
    return {str(text): str(chinese) for text, chinese in messages if chinese}


def edition_of(catalogue: Path) -> dict[str, Any]:
    """The Chinese notebook; a passage without a translation stays English."""
    chinese = translations_of(catalogue)
    edition = copy.deepcopy(source_for(catalogue))
    for cell in edition["cells"]:
        source = source_of(cell)
        if cell["cell_type"] == "markdown":
            new = LINK.sub(_where_it_is, chinese.get(source, source))
        else:
            new = _with_comments(source, chinese)
        cell["source"] = new.splitlines(keepends=True)
    return edition


def _where_it_is(link: re.Match[str]) -> str:
    """The same link, from the Chinese folder: to the Chinese edition where there is one."""
    target = link.group(1).removeprefix("../")
    if "://" in target or (CHINESE / target).with_suffix(".po").is_file():
        return f"]({target})"
    return f"](../{target})"


def _with_comments(source: str, chinese: dict[str, str]) -> str:
    lines = source.splitlines(keepends=True)
    for (row, column), text in _comments(source):
        ending = "\n" if lines[row].endswith("\n") else ""
        lines[row] = f"{lines[row][:column]}# {chinese.get(text, text)}{ending}"
    return "".join(lines)


def written(notebook: dict[str, Any]) -> str:
    """A notebook as nbformat writes it."""
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def problems_of(catalogue: Path) -> list[str]:
    """What a reader of the Chinese edition would stumble over."""
    wanted = {passage.text: passage.cell for passage in passages_of(source_for(catalogue))}
    chinese = translations_of(catalogue)
    problems = [f"{cell}: not translated" for text, cell in wanted.items() if text not in chinese]
    problems += [
        f"stale: {text.splitlines()[0][:50]!r} is not in the notebook any more"
        for text in chinese
        if text not in wanted
    ]
    for text, cell in wanted.items():
        if text in chinese:
            problems += [f"{cell}: {what}" for what in _slips(text, chinese[text])]
    return [f"{catalogue.stem}: {problem}" for problem in problems]


def _slips(english: str, chinese: str) -> Iterator[str]:
    """What a translation may not lose, and half-width signs between Chinese characters."""
    for what, pattern in (
        ("code spans", r"`[^`\n]+`"),
        ("links", LINK),
        ("headings", r"(?m)^#+ "),
        ("points", r"(?m)^(?:- |\d+\. )"),
        ("table rows", r"(?m)^\|"),
    ):
        before, after = (
            sorted(found.removeprefix("../") for found in re.findall(pattern, text))
            for text in (english, chinese)
        )
        if before != after:
            yield f"{what} differ: {before} and {after}"
    if re.search(r"[a-z]{4}", english) and not re.search(r"[\u4e00-\u9fff]", chinese):
        yield "no Chinese in it"
    found = re.search(r"[\u4e00-\u9fff][,;:?!()]|[,;:?!][\u4e00-\u9fff]", chinese)
    if found:
        yield f"a half-width sign beside Chinese: {found.group()!r}"


if __name__ == "__main__":
    sys.exit(main())
