"""What each version of vLLM understands, as observed on real servers.

versions.json is written by scripts/version_matrix.py, which runs the CPU build of each version.
Nothing in it is from memory; a version between two rows is taken to be like the older one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

#: How a version is brought to read the official prompt.
BY_TEMPLATE = "template"  # it renders our chat template, and hands it the instruction
BY_MARKED_QUERY = "marked query"  # it renders a template that finds the instruction in the query
BY_CLIENT = "client"  # it knows no template for scores: the client sends the finished prompt
REFUSED = "refused"  # none of them gives the official scores


@dataclass(frozen=True)
class VersionFacts:
    """One version of vLLM. lacks: those of the flags this kit could use that it does not have."""

    version: str
    prompt: str
    score_fields: tuple[str, str]
    limits_documents: bool  # max_tokens_per_doc cuts the document before the prompt is made
    gives_raw_scores: bool  # use_activation=False gives yes minus no, before the sigmoid
    cpu_reads_kv_flag: bool  # the CPU build sizes its KV cache by --kv-cache-memory-bytes
    lacks: frozenset[str]
    refused_because: str = ""
    was_run: bool = False  # False: only its source was read

    def has(self, flag: str) -> bool:
        return flag not in self.lacks


def facts_of(version: str | None) -> VersionFacts:
    """The facts of a version: its own row, else that of the newest older one. None or a text
    that is no version (a build from source) is taken for the newest."""
    rows = table()
    number = _number(version or "")
    if number is None:
        return rows[-1]
    older = [row for row in rows if (_number(row.version) or ()) <= number]
    return older[-1] if older else rows[0]


@cache
def table() -> tuple[VersionFacts, ...]:
    """Every version that was observed, oldest first."""
    found = [_row(values) for values in json.loads(path().read_text(encoding="utf-8"))]
    return tuple(sorted(found, key=lambda row: _number(row.version) or ()))


def path() -> Path:
    return Path(__file__).parent / "versions.json"


def _row(values: dict[str, Any]) -> VersionFacts:
    first, second = values.get("score_fields") or ("queries", "documents")
    return VersionFacts(
        version=values["version"],
        prompt=values["prompt"],
        score_fields=(first, second),
        limits_documents=bool(values.get("limits_documents")),
        gives_raw_scores=bool(values.get("raw_scores", True)),
        cpu_reads_kv_flag=bool(values.get("cpu_reads_kv_flag")),
        lacks=frozenset(values.get("lacks", ())),
        refused_because=values.get("why", "") if values["prompt"] == REFUSED else "",
        was_run=values.get("basis") == "run",
    )


def _number(version: str) -> tuple[int, ...] | None:
    """
    >>> _number("0.11.2.post2")
    (0, 11, 2)
    >>> _number("dev") is None
    True
    """
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else None
