"""Put "Open in Colab" and "Open in Kaggle" into every lesson, for a public copy of the course.

    python scripts/badges.py [--repository https://github.com/OWNER/NAME] [--branch main] [--remove]

The address comes from one place: --repository, else Repository in [project.urls] of pyproject.toml.
The project has no public address of its own, so no badge is in the notebooks until somebody who
publishes them names one. The badges open the pages of the two services; NOT TRIED there.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import nbformat
from notebook_rules import BADGES_ID, NOTEBOOKS, is_course_notebook
from save_outputs import read, write

_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repository", metavar="URL", help="https://github.com/OWNER/NAME")
    parser.add_argument("--branch", default="main", help="default: main")
    parser.add_argument("--remove", action="store_true", help="take the badges out again")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    address = "" if options.remove else options.repository or address_of_the_project()
    if not address and not options.remove:
        print("no public address: --repository, or Repository in [project.urls] of pyproject.toml")
        return 1
    if address and not _GITHUB.fullmatch(address):
        print(f"{address} is no address of a GitHub repository: both services read only those")
        return 2
    changed = [path for path in lessons(options.notebooks)
               if set_badges(path, options.notebooks, address, options.branch)]  # fmt: skip
    print(f"{len(changed)} notebooks changed")
    return 0


def address_of_the_project() -> str:
    """The one setting, "" while there is none."""
    project = tomllib.loads((NOTEBOOKS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"].get("urls", {}).get("Repository", ""))


def lessons(folder: Path) -> list[Path]:
    found = [*folder.glob("*.ipynb"), *folder.glob("solutions/*.ipynb"),
             *folder.glob("zh-CN/*.ipynb")]  # fmt: skip
    return sorted(path for path in found if is_course_notebook(path))


def badges(path: str, address: str, branch: str) -> str:
    """The two links of a notebook. path: in the repository."""
    name = _GITHUB.fullmatch(address)
    assert name is not None
    file = f"{name[1]}/blob/{branch}/{path}"
    colab = "https://colab.research.google.com"
    return (
        f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{file})\n"
        "[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
        f"(https://kaggle.com/kernels/welcome?src=https://github.com/{file})"
    )


def set_badges(path: Path, folder: Path, address: str, branch: str) -> bool:
    """Put the cell after the parameters, mend it, or (no address) take it out. True: changed."""
    notebook: Any = read(path)
    old = [cell for cell in notebook.cells if cell.get("id") == BADGES_ID]
    kept = [cell for cell in notebook.cells if cell.get("id") != BADGES_ID]
    if address:
        place = f"notebooks/{path.relative_to(folder).as_posix()}"
        text = badges(place, address, branch)
        if [cell.source for cell in old] == [text]:
            return False
        kept.insert(2, nbformat.v4.new_markdown_cell(text, id=BADGES_ID))
    elif not old:
        return False
    notebook.cells = kept
    write(notebook, path)
    return True


if __name__ == "__main__":
    sys.exit(main())
