"""The rules every notebook keeps (the style of the course, made checkable), and the one way an
exercise notebook is made from its solution. Pure functions; used by save_outputs.py and tests."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
#: The cell of a public copy that leads to the two hosted services (badges.py).
BADGES_ID = "badges"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
ALLOWED_TAGS = {
    "parameters", "you-pay", "slow", "exercise", "solution", "cleanup",
    "nbval-ignore-output", "nbval-skip", "raises-exception",
}  # fmt: skip
UNCHECKED_TAGS = {"nbval-ignore-output", "nbval-skip"}
MAX_CODE_LINES, MAX_COLUMNS, MAX_WORDS, MAX_CODE_IN_A_ROW = 12, 88, 80, 2
MAX_UNCHECKED_SHARE = 0.10

_FOLDERS = "home|root|Users|tmp|work|opt|mnt|var|usr|srv|data|workspace|content"
_LOOPBACK = r"(?:127\.0\.0\.1|localhost|0\.0\.0\.0)"
#: The course's own ports (server, the next one that a diagnosis proposes, JupyterLab, Voila), and
#: 9, where nothing listens.
_KNOWN_PORT = r"(?!(?:8000|8001|8888|7860|9)\b)\d+"
MACHINE_FACTS = {
    "a path of this machine": re.compile(
        rf"(?<![\w$.\-/])/(?:{_FOLDERS})/\S*|site-packages|[A-Z]:\\Users"
    ),
    "a port": re.compile(rf"{_LOOPBACK}:{_KNOWN_PORT}|\bport[= ](?=\d{{4,5}}\b){_KNOWN_PORT}"),
    "a process number": re.compile(r"\bpid[ =:]+\d+"),
    "a date": re.compile(r"\b20\d\d-\d\d-\d\d\b"),
    "a time of day": re.compile(r"\b\d\d:\d\d:\d\d\b"),
    "a memory address": re.compile(r"\b0x[0-9a-f]{6,}\b"),
}


def all_notebooks() -> list[Path]:
    """Every notebook of the project, exercise and solution."""
    found = [*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")]
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def is_course_notebook(path: Path) -> bool:
    """A numbered lesson, and not index.ipynb or app.ipynb."""
    return re.match(r"\d\d_", path.name) is not None


def exercise_from(solution: dict[str, Any]) -> dict[str, Any]:
    """The exercise notebook of a solution notebook: `solution` cells get their starter back,
    outputs and counts are taken away."""
    exercise = copy.deepcopy(solution)
    for cell in exercise["cells"]:
        starter = cell["metadata"].pop("starter", None)
        if starter is not None:
            cell["source"] = starter
            cell["metadata"]["tags"] = [tag for tag in tags_of(cell) if tag != "solution"]
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return exercise


def without_outputs(notebook: dict[str, Any]) -> list[tuple[str, str, str, list[str]]]:
    """What makes two notebooks the same lesson: ids, kinds, sources and tags, in order."""
    return [
        (cell.get("id", ""), cell["cell_type"], source_of(cell), tags_of(cell))
        for cell in notebook["cells"]
    ]


def output_problems(notebook: dict[str, Any]) -> list[str]:
    """What may not be in saved outputs: errors, warnings, facts of one machine, widget state."""
    problems = []
    if "widgets" in notebook["metadata"]:
        problems.append("the notebook stores widget state")
    language = notebook["metadata"].get("language_info", {})
    if set(language) - {"name"}:
        problems.append("language_info says more than the language's name")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    if counts != list(range(1, len(code) + 1)):
        problems.append(f"not saved from one clean run: counts are {counts}")
    for cell in code:
        problems += [f"cell {_name(cell)} {problem}" for problem in _output_problems(cell)]
    return problems


def _output_problems(cell: dict[str, Any]) -> Iterator[str]:
    for output in cell["outputs"]:
        if output["output_type"] == "error" and "raises-exception" not in tags_of(cell):
            yield f"stores an error: {output['ename']}"
        if output.get("name") == "stderr":
            yield "stores a warning (stderr)"
        if WIDGET_VIEW in output.get("data", {}):
            yield "stores a widget view, which cannot be shown without its state"
        data = output.get("data", {})
        plain = "".join(data.get("text/plain", ""))
        if "image/png" not in data and re.search(r"<\w+ size \d+x\d+ with \d+ Axes", plain):
            yield "shows the name of a figure, and no picture"
        for text in _texts(output):
            for line in text.splitlines():
                if "recorded on" in line:  # a real GPU's numbers carry their date
                    continue
                for what, pattern in MACHINE_FACTS.items():
                    found = pattern.search(line)
                    if found:
                        yield f"shows {what}: {found.group()!r}"


def _texts(output: dict[str, Any]) -> Iterator[str]:
    data = output.get("data", {})
    values = [value for kind, value in data.items() if not kind.startswith("image/")]
    values += [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
    for value in values:
        yield "".join(value) if isinstance(value, list) else str(value)


def source_problems(notebook: dict[str, Any]) -> list[str]:
    """Rules on what is written: length, rhythm, tags, plain Python."""
    problems: list[str] = []
    cells = notebook["cells"]
    in_a_row = 0
    for cell in cells:
        is_code = cell["cell_type"] == "code"
        in_a_row = in_a_row + 1 if is_code else 0
        found = list(_code_problems(cell) if is_code else _prose_problems(cell))
        if in_a_row > MAX_CODE_IN_A_ROW:
            found.append(f"is code cell number {in_a_row} in a row")
        found += [f"has the unknown tag {tag}" for tag in sorted(set(tags_of(cell)) - ALLOWED_TAGS)]
        problems += [f"cell {_name(cell)} {problem}" for problem in found]
    return [*problems, *_unchecked_problems([c for c in cells if c["cell_type"] == "code"])]


def _code_problems(cell: dict[str, Any]) -> Iterator[str]:
    lines = source_of(cell).splitlines()
    if not "".join(lines).strip():
        yield "is empty"
    if len(lines) > MAX_CODE_LINES:
        yield f"has {len(lines)} lines (at most {MAX_CODE_LINES})"
    yield from (
        f"has a line of {len(line)} characters" for line in lines if len(line) > MAX_COLUMNS
    )
    if "NBVAL_" in source_of(cell):
        yield "uses an nbval comment: use a tag"
    if re.search(r"\bdel os\.environ|\bos\.environ\.pop\(", source_of(cell)):
        yield "takes a variable of the reader's own away: keep it, and put it back"
    try:
        ast.parse(source_of(cell))
    except SyntaxError:
        yield "is not plain Python (no magics, no ! commands)"
    if UNCHECKED_TAGS & set(tags_of(cell)) and not cell["metadata"].get("reason"):
        yield "is not compared, and its metadata gives no reason"
    if "solution" in tags_of(cell) and "starter" not in cell["metadata"]:
        yield "is a solution without a starter in its metadata"


def _prose_problems(cell: dict[str, Any]) -> Iterator[str]:
    words = count_words(source_of(cell))
    if words == 0:
        yield "is empty"
    if words >= MAX_WORDS:
        yield f"has {words} words (fewer than {MAX_WORDS})"


def count_words(markdown: str) -> int:
    """Words of prose: tables and code blocks are looked at, not read; two Chinese characters
    count as one word."""
    text = re.sub(r"(?ms)^```.*?^```|<[^>]+>", " ", markdown)
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("|"))
    han = len(re.findall(r"[\u4e00-\u9fff]", text))
    return len(re.findall(r"[^\W\u4e00-\u9fff][^\s\u4e00-\u9fff]*", text)) + han // 2


def _unchecked_problems(code: list[dict[str, Any]]) -> Iterator[str]:
    unchecked = [cell for cell in code if UNCHECKED_TAGS & set(tags_of(cell))]
    if len(unchecked) > MAX_UNCHECKED_SHARE * len(code):
        yield f"{len(unchecked)} of {len(code)} code cells are not compared (at most 10 %)"
    for place, cell in enumerate(code):
        if "nbval-skip" in tags_of(cell):
            later = " ".join(source_of(other) for other in code[place + 1 :])
            for name in _defined_names(source_of(cell)):
                if re.search(rf"\b{name}\b", later):
                    yield f"cell {_name(cell)} is skipped, but {name} is used later"


def _defined_names(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def lesson_problems(notebook: dict[str, Any]) -> list[str]:
    """The shape of a lesson: question, parameters, exercises, clean-up, recap."""
    problems = []
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    first = source_of(cells[0])
    title = first.splitlines()[0]
    if cells[0]["cell_type"] != "markdown" or not re.match(r"# .*[?？]$", title):
        problems.append("the first cell is no title with a question")
    if not 2 <= len(re.findall(r"(?m)^- ", first)) <= 4:
        problems.append("the first cell does not say in 2 to 4 points what one will be able to do")
    if not re.search(r"\d+ minutes", first):
        problems.append("the first cell does not say how many minutes")
    if not re.search(r"Cost: free|You pay: about", first):
        problems.append("the first cell says neither `Cost: free` nor `You pay: about ...`")
    if "parameters" not in tags_of(cells[1]) or cells[1]["cell_type"] != "code":
        problems.append("the second cell is not the one tagged `parameters`")
    answers = [cell for cell in code if "exercise" in tags_of(cell)]
    if not 2 <= len(answers) <= 3:
        problems.append(f"{len(answers)} cells are tagged `exercise` (2 or 3 are wanted)")
    if any(re.search(r"\blaunch\(", source_of(cell)) for cell in code):
        if "cleanup" not in tags_of(code[-1]):
            problems.append("a server is launched, and the last code cell is no `cleanup`")
    last = source_of(cells[-1])
    if cells[-1]["cell_type"] != "markdown" or "What you can do now" not in last:
        problems.append("the last cell does not say what you can do now")
    if len(re.findall(r"(?m)^\d\. .*[?？]$", last)) < 3:
        problems.append("the last cell does not ask three questions to recall")
    return problems


def source_of(cell: dict[str, Any]) -> str:
    """A cell's text (files store it as a list of lines)."""
    source = cell["source"]
    return "".join(source) if isinstance(source, list) else str(source)


def tags_of(cell: dict[str, Any]) -> list[str]:
    return list(cell["metadata"].get("tags", []))


def _name(cell: dict[str, Any]) -> str:
    first = source_of(cell).strip().splitlines()[:1]
    return f"{cell.get('id', '?')} ({first[0][:40] if first else ''})"
