#!/usr/bin/env python3
"""Try other people's reranking clients against a live server, each in its own environment.

    bash scripts/test_integrations.sh [--only NAME] [--with mteb] [--url URL] [--json FILE]

Makes the missing environments under .work/integrations (environments.toml says which, and how
large), starts a practice server unless --url names one, and prints library, version and result.
Exit status 1 when one of them does not get the scores that a plain request gets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from set_up import sources  # noqa: E402
from set_up.project import Project  # noqa: E402
from set_up.uv import find_uv, pip_settings  # noqa: E402

ENVIRONMENTS = ROOT / ".work" / "integrations"
INSTALL_SECONDS, TRY_SECONDS = 1200, 600


def main() -> int:
    options = _options()
    chosen = _chosen(options)
    uv = find_uv(Project(ROOT))
    if uv is None:
        print("uv is missing: bash scripts/start.sh --setup-only")
        return 2
    for name, wanted in chosen.items():
        ensure(uv, name, wanted)
    started = time.monotonic()
    with _server(options.url) as url:
        results = [line for name, wanted in chosen.items() for line in try_all(name, wanted, url)]
    print(table(results))
    good = sum(line["result"] == "ok" for line in results)
    print(f"{good} of {len(results)} ways work; {time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    return int(good < len(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/test_integrations.sh", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", metavar="NAME", action="append", help="only this environment")
    parser.add_argument(
        "--with", metavar="NAME", action="append", default=[], dest="also",
        help="also this large one (mteb: 1.9 GB)",
    )  # fmt: skip
    parser.add_argument("--url", help="a running server (default: start a practice server)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to a file")
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    known = tomllib.loads((HERE / "environments.toml").read_text(encoding="utf-8"))
    for name in [*(options.only or ()), *options.also]:
        if name not in known:
            sys.exit(f"there is no environment {name!r}; there are {', '.join(known)}")
    if options.only:
        return {name: known[name] for name in options.only}
    return {
        name: wanted for name, wanted in known.items()
        if not wanted.get("optional") or name in options.also
    }  # fmt: skip


def ensure(uv: str, name: str, wanted: dict[str, Any]) -> None:
    """Make the environment, unless it is there with exactly these packages."""
    folder = ENVIRONMENTS / name
    done = folder / "made_with.txt"
    packages = "\n".join(wanted["packages"])
    if done.is_file() and done.read_text(encoding="utf-8") == packages:
        return
    what = " ".join(wanted["packages"])
    print(f"Installing {name}: {what} ({wanted['megabytes']} MB)", flush=True)
    python = folder / "bin" / "python"
    _must([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], sources_of_pip())
    install = [uv, "pip", "install", "-q", "--python", str(python), *wanted["packages"]]
    try:
        _must(install, sources_of_pip())
    except subprocess.CalledProcessError:  # a lost connection, or no CPU build of torch there
        needs_torch = any("+cpu" in package for package in wanted["packages"])
        again = sources_of_pip()
        _must(install, sources.with_torch_links(again) if needs_torch else again)
    done.write_text(packages, encoding="utf-8")


def sources_of_pip() -> dict[str, str]:
    """The environment for uv: packages come from where this machine's pip takes them."""
    mirror = os.environ.get("RERANK_KIT_MIRROR", "")
    return {**os.environ, **sources.uv_settings(pip_settings(), os.environ, mirror)}


def _must(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS, env=environment)


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url:
        yield url
        return
    from rerank_kit import launch, machine

    with launch("practice", port=machine.free_port()) as server:
        yield server.url


def try_all(name: str, wanted: dict[str, Any], url: str) -> list[dict[str, str]]:
    """Run the environment's scripts. Only the scripts' folder and the kit are added to it."""
    path = os.pathsep.join([str(HERE), str(ROOT)])
    environment = dict(os.environ, RERANK_URL=url, PYTHONPATH=path)
    environment["NO_PROXY"] = "127.0.0.1,localhost"
    found = []
    for script in wanted["scripts"]:
        done = subprocess.run(
            [ENVIRONMENTS / name / "bin" / "python", HERE / script],
            env=environment, capture_output=True, text=True, timeout=TRY_SECONDS, check=False,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode != 0 or not lines:
            said = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            lines.append({"library": name, "version": "?", "way": script,
                          "result": f"ended with {done.returncode}: {said}"})  # fmt: skip
        found += lines
    return found


def table(results: list[dict[str, str]]) -> str:
    columns = ("library", "version", "way", "result")
    rows = [columns, *(tuple(line[name] for name in columns) for line in results)]
    wide = [max(len(row[place]) for row in rows) for place in range(3)]
    return "\n".join(
        "  ".join([*(row[place].ljust(wide[place]) for place in range(3)), row[3]]) for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
