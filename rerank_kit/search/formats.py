"""One reader for each kind of file: a path -> the (title, text) of its documents."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rerank_kit.client.documents import read_text
from rerank_kit.errors import FileInputError
from rerank_kit.search.needs import need

Part = tuple[str, str]
Reader = Callable[[Path, Sequence[str] | None], list[Part]]

#: A document of a long file is about this long: some 300 English words, a printed page of
#: Chinese. Longer ones dilute the score, shorter ones lose their context.
PART_CHARACTERS = 1800
#: Columns that are put together when none are named, in this order.
USUAL_COLUMNS = (
    "title", "name", "headline", "question", "subject", "tags", "keywords", "category",
    "summary", "description", "abstract", "answer", "text", "content", "body",
    "标题", "名称", "题目", "标签", "关键词", "分类", "摘要", "描述", "简介", "正文", "内容",
)  # fmt: skip
_TITLE_COLUMNS = ("title", "name", "headline", "question", "subject", "标题", "名称", "题目")


def reader_for(path: Path) -> Reader | None:
    """The reader of a file, by its ending; None when it is no kind of text that is read."""
    return _READERS.get(path.suffix.lower())


def read_plain(path: Path, columns: Sequence[str] | None = None) -> list[Part]:
    """A text file: one document, or several when it is long."""
    return _parts(path.stem, read_text(str(path)))


def read_markdown(path: Path, columns: Sequence[str] | None = None) -> list[Part]:
    """A Markdown file: a document for each chapter, titled with the headings above it."""
    text = re.sub(r"\A---\n.*?\n---\n", "", read_text(str(path)), flags=re.DOTALL)
    parts: list[Part] = []
    headings: list[str] = []
    lines: list[str] = []
    in_code = False

    def close() -> None:
        if "".join(lines).strip():
            parts.extend(_parts(" > ".join(filter(None, headings)) or path.stem, "\n".join(lines)))
        lines.clear()

    for line in text.split("\n"):
        if line.lstrip().startswith(("```", "~~~")):
            in_code = not in_code
        found = None if in_code else re.match(r"(#{1,6})\s+(.*?)\s*#*\s*$", line)
        if found:
            close()
            level = len(found[1])
            headings[:] = [*headings[: level - 1], *[""] * (level - 1 - len(headings)), found[2]]
        else:
            lines.append(line)
    close()
    return _joined_when_short(parts)


def read_html(path: Path, columns: Sequence[str] | None = None) -> list[Part]:
    """A web page: its title and its readable text, without scripts and navigation."""
    soup = need("bs4", "Reading HTML").BeautifulSoup(path.read_bytes(), "html.parser")
    for tag in soup(["script", "style", "noscript", "template", "nav", "header", "footer"]):
        tag.decompose()
    title = soup.title.get_text(" ", strip=True) if soup.title else path.stem
    body = soup.body or soup
    if soup.title and soup.title in body.descendants:
        soup.title.decompose()
    return _parts(title, body.get_text("\n", strip=True))


def read_pdf(path: Path, columns: Sequence[str] | None = None) -> list[Part]:
    """A PDF: a document for each page that holds text."""
    pypdf = need("pypdf", "Reading PDF files")
    try:
        pages = pypdf.PdfReader(path).pages
        texts = [_clean_pdf(page.extract_text() or "") for page in pages]
    except Exception as error:  # pypdf raises many kinds on broken and on locked files
        raise FileInputError(
            f"it cannot be read as a PDF ({type(error).__name__}: {str(error)[:80]})"
        ) from None
    if len(texts) == 1:
        return _parts(path.stem, texts[0])
    return [
        part for number, text in enumerate(texts, start=1)
        for part in _parts(f"{path.stem}, page {number}", text)
    ]  # fmt: skip


def read_csv(path: Path, columns: Sequence[str] | None = None) -> list[Part]:
    """A table with a header: a document for each row."""
    text = read_text(str(path))
    try:
        dialect: type[csv.Dialect] | str = csv.Sniffer().sniff(text[:8192], ",;\t|")
    except csv.Error:
        dialect = "excel-tab" if path.suffix.lower() == ".tsv" else "excel"
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), dialect=dialect))
    except csv.Error as error:
        raise FileInputError(f"it cannot be read as a table ({error})") from None
    return _rows(rows, columns)


def read_json_lines(path: Path, columns: Sequence[str] | None = None) -> list[Part]:
    """JSON lines: a document for each object."""
    rows = []
    for number, line in enumerate(read_text(str(path)).split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                raise FileInputError(f"line {number} is not JSON") from None
            if not isinstance(row, dict):
                raise FileInputError(f"line {number} is not a JSON object")
            rows.append(row)
    return _rows(rows, columns)


def _rows(rows: Iterable[dict], columns: Sequence[str] | None) -> list[Part]:
    rows = list(rows)
    names = {str(name).strip().lower(): name for row in rows for name in row if name is not None}
    wanted = [name.strip().lower() for name in columns or USUAL_COLUMNS]
    chosen = [name for name in wanted if name in names]
    if columns and len(chosen) < len(wanted):
        missing = ", ".join(name for name in wanted if name not in names)
        raise FileInputError(f"it has no column {missing}; it has {', '.join(names)}")
    chosen = chosen or list(names)  # none of the usual names: everything is put together
    titles = [name for name in chosen[:1] if columns or name in _TITLE_COLUMNS]
    return [
        (_value(row, names, titles), _value(row, names, [n for n in chosen if n not in titles]))
        for row in rows
    ]


def _value(row: dict, names: dict, wanted: Sequence[str]) -> str:
    found = (row.get(names[name]) for name in wanted)
    return "\n".join(
        ", ".join(map(str, value)) if isinstance(value, list) else str(value).strip()
        for value in found
        if value not in (None, "", [])
    )


def _clean_pdf(text: str) -> str:
    """Words cut at a line's end are joined; single line ends inside a paragraph become spaces."""
    text = re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", text)
    text = re.sub(r"(?<=[\u3400-\u9fff，。；：])\n(?=[\u3400-\u9fff])", "", text)
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text).strip()


def _parts(title: str, text: str) -> list[Part]:
    """A text as one document, or as several of about PART_CHARACTERS cut between paragraphs,
    or between sentences where a paragraph is longer than that."""
    text = re.sub(r"[ \t]+\n", "\n", text).strip()
    if len(text) <= PART_CHARACTERS * 1.25:
        return [(title, text)] if text else []
    pieces = [piece for block in re.split(r"\n\s*\n", text) for piece in _pieces(block)]
    parts, current = [], ""
    for piece in pieces:
        if current and len(current) + len(piece) > PART_CHARACTERS:
            parts.append((title, current.strip()))
            current = ""
        current += piece + "\n\n"
    return [*parts, (title, current.strip())]


def _pieces(block: str) -> list[str]:
    if len(block) <= PART_CHARACTERS:
        return [block]
    pieces: list[str] = []
    current = ""
    for sentence in re.split(r"(?<=[.!?])\s+|(?<=[。！？\n])", block):
        while len(sentence) > PART_CHARACTERS:  # no sentence at all: a table, a base64 blob
            pieces, current = [*pieces, current + sentence[:PART_CHARACTERS]], ""
            sentence = sentence[PART_CHARACTERS:]
        if len(current) + len(sentence) > PART_CHARACTERS:
            pieces, current = [*pieces, current], ""
        current += sentence + " "
    return [piece.strip() for piece in [*pieces, current] if piece.strip()]


def _joined_when_short(parts: list[Part]) -> list[Part]:
    """A file that is short as a whole stays one document, under its first heading."""
    if len(parts) < 2 or sum(len(title) + len(text) for title, text in parts) > PART_CHARACTERS:
        return parts
    first = parts[0][0].split(" > ")[0]
    rest = [
        f"{title.removeprefix(first).removeprefix(' > ')}\n{text.strip()}".strip()
        for title, text in parts
    ]
    return [(first, "\n\n".join(rest))]


_READERS: dict[str, Reader] = {
    ".txt": read_plain,
    ".text": read_plain,
    ".rst": read_plain,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".pdf": read_pdf,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
SUFFIXES = tuple(_READERS)
