#!/usr/bin/env python3
"""Break real starts on purpose: is each diagnosed as what it is, mended, and running then?

    python scripts/provoke_failures.py                      all, about 8 minutes on two cores
    python scripts/provoke_failures.py "cache too small"    only these
    python scripts/provoke_failures.py --json               one JSON object, nothing else

The practice profile is used: no GPU, no network, no cost. Exit status 1 when one of them was
taken for something else, or did not run again where a setting can cure it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from rerank_kit.errors import InputError
from rerank_kit.memory.show import aligned
from rerank_kit.server.provoke import PROVOCATIONS, Outcome, provoke


def table(outcomes: list[Outcome]) -> str:
    """Provoked failure, family found, fix applied, running or not."""
    rows = [["provoked failure", "family found", "sure", "fix applied", "running", "seconds"]]
    for one in outcomes:
        if one.left_out:
            rows.append([one.name, "-", "-", f"left out: {one.left_out}", "-", "-"])
            continue
        family = one.family or "none"
        rows.append([
            one.name, family if one.family in one.expected else f"{family} (WRONG)",
            one.confidence, ", then ".join(one.fixes) or "-", "yes" if one.running else "no",
            f"{one.seconds:.0f}",
        ])  # fmt: skip
    lines = aligned(rows, numbers=(5,))
    lines += ["", *(f"{one.name}: {text}" for one in outcomes for text in one.remedies)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of them")
    parser.add_argument("--no-mend", action="store_true", help="break and diagnose only")
    parser.add_argument("--list", action="store_true", help="the names, and what each one does")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.list:
        print("\n".join(aligned([[one.name, one.broken_by] for one in PROVOCATIONS])))
        return 0
    outcomes = []
    for name in options.names or [one.name for one in PROVOCATIONS]:
        try:
            outcomes.append(provoke(name, mend=not options.no_mend))
        except InputError as error:
            parser.error(str(error))
        print(f"{outcomes[-1]}\n", file=sys.stderr, flush=True)
    good = all(one.good for one in outcomes)
    if options.json:
        print(json.dumps({"good": good, "outcomes": [asdict(one) for one in outcomes]}))
    else:
        print(table(outcomes))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
