"""The patients of notebook 09: a short log for every family of failures (clinic.toml)."""

from __future__ import annotations

import re
import textwrap
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

EXCERPT_COLUMNS = 76
_PROCESS = re.compile(r"^\((?P<name>\w+) pid=\d+\)\s?")
_STAMP = re.compile(r"^(?P<level>[A-Z]+) \d\d-\d\d \d\d:\d\d:\d\d \[?(?P<file>[\w.]+):\d+\] ")


@dataclass(frozen=True)
class Case:
    """One patient. situation: what the person did. log: as the program wrote it."""

    group: str
    family: str
    situation: str
    log: str

    @property
    def lines(self) -> list[str]:
        return self.log.strip("\n").splitlines()

    @property
    def excerpt(self) -> str:
        """The log to read: line numbers, no process numbers and times, long lines folded."""
        shown = []
        for number, line in enumerate(self.lines, 1):
            folded = textwrap.wrap(
                without_stamps(line), EXCERPT_COLUMNS - 4, subsequent_indent="    ",
                break_on_hyphens=False,
            )  # fmt: skip
            shown += [f"{number:2}  " + "\n    ".join(folded or [""])]
        return "\n".join(line.rstrip() for line in shown)


def without_stamps(line: str) -> str:
    """A vLLM log line without its process number, time and line number.

    >>> without_stamps("(EngineCore pid=7) ERROR 11-20 09:51:04 [core.py:1510] It broke.")
    'EngineCore ERROR core.py: It broke.'
    """
    process = _PROCESS.match(line)
    rest = line[process.end() :] if process else line
    rest = _STAMP.sub(lambda found: f"{found['level']} {found['file']}: ", rest)
    return f"{process['name']} {rest}" if process else rest


@cache
def all_cases() -> tuple[Case, ...]:
    text = files(__package__).joinpath("clinic.toml").read_text(encoding="utf-8")
    return tuple(Case(**case) for case in tomllib.loads(text)["cases"])


def cases(group: str) -> list[Case]:
    """The cases of one group, in the order in which they are shown."""
    return [case for case in all_cases() if case.group == group]
