"""For a teacher: one server for a whole class, a key for every seat, and a trial of the load.

    python scripts/classroom.py keys --seats 30 --folder classroom
    python scripts/classroom.py try --seats 30 [--url URL]

`keys` writes three files that only you can read (mode 0600): `vllm.yaml`, the keys in the form
in which vLLM reads several; `seats.csv`, a line to hand to each seat; `teacher.env`, your own
key. Nothing is printed but the next command, and an existing folder is never overwritten.

`try` lets as many clients as there are seats rank at once, as after "now run this cell", and
prints what each seat would have waited. It asks your running server, or the one at --url with
the key in RERANK_API_KEY. Exit status 1 when a seat got an error.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import secrets
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

#: What a seat sends at once in a lesson: one ranking of this many documents (notebook 04's depth).
DOCUMENTS_PER_RANKING = 20
RANKINGS_PER_SEAT = 3
#: In a lesson nobody waits longer than this in silence.
TIMEOUT_SECONDS = 120.0


def main() -> int:
    options = _options()
    if options.seats < 1 or options.seats > 1000:
        print("--seats takes a number from 1 to 1000")
        return 2
    return options.run(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="keys | try")
    keys = commands.add_parser("keys", help="write a key for every seat")
    keys.add_argument("--folder", type=Path, default=Path("classroom"), help="default: classroom")
    keys.set_defaults(run=write_keys)
    trial = commands.add_parser("try", help="all seats rank at once: what do they wait?")
    trial.add_argument("--url", help="default: the server that rerank_kit runs here")
    trial.add_argument("--json", action="store_true", help="print one JSON object")
    trial.set_defaults(run=try_load)
    for one in (keys, trial):
        one.add_argument("--seats", type=int, default=30, help="default: 30")
    return parser.parse_args()


def write_keys(options: argparse.Namespace) -> int:
    """The key files of a class."""
    folder: Path = options.folder
    if folder.exists():
        print(f"{folder} exists: its keys may be in use. Remove it yourself, or name another "
              "--folder.")  # fmt: skip
        return 1
    folder.mkdir(parents=True, mode=0o700)
    teacher, *seats = (new_key() for _ in range(options.seats + 1))
    keys = "".join(f'  - "{key}"\n' for key in (teacher, *seats))
    _write(folder / "vllm.yaml", f"api-key:\n{keys}")
    _write(folder / "teacher.env", f"export RERANK_API_KEY={teacher}\n")
    with _private(folder / "seats.csv") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["seat", "RERANK_API_KEY"])
        rows.writerows(enumerate(seats, start=1))
    print(f"{len(seats)} seats and a teacher: keys are in {folder}, readable by you only.")
    print(f"Start:  . {folder}/teacher.env && rerank-kit launch -- --config {folder}/vllm.yaml")
    print(f"Hand out one line of {folder}/seats.csv to each seat; delete the folder afterwards.")
    return 0


def new_key() -> str:
    """192 random bits as 48 hexadecimal digits. Other alphabets have a hyphen: vLLM makes command
    line arguments of its configuration, and takes a key that begins with one for an option."""
    return secrets.token_hex(24)


def _private(path: Path) -> Any:
    """A new file that was never readable by others, not even for a moment."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(handle, "w", encoding="utf-8")


def _write(path: Path, text: str) -> None:
    with _private(path) as file:
        file.write(text)


def try_load(options: argparse.Namespace) -> int:
    """All seats at once, as when a teacher says: now run this cell."""
    from rerank_kit import Reranker, RerankKitError

    url = options.url or Reranker().url
    Reranker(url).rank(_query(0), _documents(0))  # warm, and one clear error before all threads
    barrier = threading.Barrier(options.seats)

    def sit(seat: int) -> tuple[list[float], str]:
        waits: list[float] = []
        try:
            one = Reranker(url, timeout_seconds=TIMEOUT_SECONDS)
            barrier.wait(timeout=60)
            for turn in range(RANKINGS_PER_SEAT):
                began = time.monotonic()
                one.rank(_query(seat + turn), _documents(seat + turn))
                waits.append(time.monotonic() - began)
        except RerankKitError as error:
            return waits, f"seat {seat + 1}: {str(error).splitlines()[0]}"
        return waits, ""

    began = time.monotonic()
    with ThreadPoolExecutor(options.seats) as pool:
        seats = list(pool.map(sit, range(options.seats)))
    seconds = time.monotonic() - began
    waits = sorted(wait for one, _ in seats for wait in one)
    errors = [error for _, error in seats if error]
    figures = {
        "seats": options.seats,
        "documents_per_ranking": DOCUMENTS_PER_RANKING,
        "rankings": len(waits),
        "errors": errors,
        "wait_median_seconds": round(statistics.median(waits), 3) if waits else None,
        "wait_longest_seconds": round(waits[-1], 3) if waits else None,
        "pairs_per_second": round(len(waits) * DOCUMENTS_PER_RANKING / seconds, 1),
    }
    print(json.dumps(figures) if options.json else _said(figures))
    return 1 if errors else 0


def _query(number: int) -> str:
    from rerank_kit.samples import SAMPLES

    return SAMPLES[number % len(SAMPLES)].query


def _documents(number: int) -> list[str]:
    """Texts of the samples, numbered so that no two seats send the same ones."""
    from rerank_kit.samples import SAMPLES

    texts = [text for sample in SAMPLES for text in sample.documents]
    return [f"{texts[place % len(texts)]} {number}" for place in range(DOCUMENTS_PER_RANKING)]


def _said(figures: dict[str, Any]) -> str:
    lines = [
        f"{figures['seats']} seats, {RANKINGS_PER_SEAT} rankings of "
        f"{figures['documents_per_ranking']} documents each, all at once",
        f"answered: {figures['rankings']} of {figures['seats'] * RANKINGS_PER_SEAT}",
        f"a seat waits: {figures['wait_median_seconds']} s (median), "
        f"{figures['wait_longest_seconds']} s (longest)",
        f"the server ranks {figures['pairs_per_second']} pairs a second",
        *figures["errors"],
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    from rerank_kit.errors import RerankKitError

    try:
        sys.exit(main())
    except RerankKitError as error:
        print(error)
        sys.exit(1)
