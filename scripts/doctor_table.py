#!/usr/bin/env python3
"""Start servers that are wrong on purpose, and two healthy ones; examine each; print the table.

    .venv/bin/python scripts/doctor_table.py [--only NAME] [--details] [--json FILE]

Every server is a real vLLM with the practice model (tests/mislaunched.py says what is wrong with
each). X: the doctor says [fix]; ?: it cannot be seen from outside; -: not asked because of an
earlier finding; a dot: [ok]. The last column compares with what had to be found. Takes about
three minutes on two cores; the exit status is 1 for a missed fault or an accused healthy server.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import mislaunched  # noqa: E402

from rerank_kit import Examination  # noqa: E402

MARKS = {"ok": ".", "fix": "X", "unknown": "?"}
COLUMNS = (
    "reachable", "version", "reranks", "official_prompt", "instruction", "control_tokens",
    "activation", "scores", "yes_no_order", "known_pairs", "precision", "context_length",
    "truncation", "address", "access",
)  # fmt: skip


def table(found: dict[str, Examination]) -> str:
    """Servers down, findings across."""
    wide = max(map(len, found))
    heads = [" " * wide + "".join(f" {name[row:row + 1] or ' '}" for name in COLUMNS)
             for row in range(max(map(len, COLUMNS)))]  # fmt: skip
    lines = []
    for launch in mislaunched.EVERY:
        if launch.name in found:
            status = {one.id: MARKS[one.status] for one in found[launch.name].findings}
            marks = "".join(f" {status.get(name, '-')}" for name in COLUMNS)
            lines.append(f"{launch.name:<{wide}}{marks}  {verdict(launch, found[launch.name])}")
    return "\n".join([*heads, *lines])


def verdict(launch: mislaunched.Launch, found: Examination) -> str:
    missed, accused = launch.faults - set(found.faults), set(found.faults) - launch.faults
    if missed or accused:
        return f"WRONG: missed {sorted(missed)}, accused {sorted(accused)}"
    return f"named: {len(launch.faults)}" if launch.faults else "no finding, as it should be"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="servers whose name contains this")
    parser.add_argument("--details", action="store_true", help="print every [fix] in full")
    parser.add_argument("--json", type=Path, help="write all findings to this file")
    options = parser.parse_args()
    chosen = [one for one in mislaunched.EVERY if (options.only or "") in one.name]
    with tempfile.TemporaryDirectory() as folder:
        found = mislaunched.examine_all(chosen, Path(folder))
    for name, examination in found.items() if options.details else ():
        print(f"== {name}")
        print("\n".join(str(one) for one in examination.findings if one.status != "ok"))
    print(table(found))
    if options.json:
        everything = {name: examination.as_dict() for name, examination in found.items()}
        options.json.write_text(json.dumps(everything, ensure_ascii=False, indent=1) + "\n")
    return int(any(set(found[one.name].faults) != one.faults for one in chosen))


if __name__ == "__main__":
    sys.exit(main())
