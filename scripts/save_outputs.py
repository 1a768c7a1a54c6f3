"""Make the exercise notebooks from their solutions, run every notebook from a fresh kernel
against one practice server, and save the outputs. Nothing that breaks a rule is saved."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import nbformat
import translate_notebooks
from notebook_rules import NOTEBOOKS, WIDGET_VIEW, all_notebooks, exercise_from, output_problems

PROJECT = NOTEBOOKS.parent
CELL_TIMEOUT_SECONDS = 120
#: A kernel was seen to hang for good, rarely and for no reason that could be found: each
#: notebook runs in a process of its own that is ended and tried once more.
NOTEBOOK_TIMEOUT_SECONDS = 400
ATTEMPTS = 2


def main() -> int:
    options = _options()
    if options.run_one:
        return _run_one(Path(options.run_one))
    exercises = make_exercises()
    chosen = [path for path in all_notebooks() if not options.names or _named(path, options.names)]
    if options.exercises_only:
        print(f"{len(exercises)} exercise notebooks are in step with their solutions")
        return 0
    _prepare_environment()
    from rerank_kit import launch, machine

    # A port of our own: 8000 may be somebody's choice for later.
    server = launch("practice", port=machine.free_port())
    with server, ThreadPoolExecutor(options.jobs) as pool:
        # A lesson and its solution would share the servers that they start: one after the other.
        lessons = [[path for path in chosen if path.name == name]
                   for name in dict.fromkeys(path.name for path in chosen)]  # fmt: skip
        good = list(chain.from_iterable(pool.map(_run_in_turn, lessons)))
    print(f"{sum(good)} of {len(good)} notebooks saved")
    for catalogue in sorted(translate_notebooks.CHINESE.glob("*.po")):
        translate_notebooks.make_edition(catalogue)
        for problem in translate_notebooks.problems_of(catalogue):
            print(f"Chinese edition: {problem}")
    return 0 if all(good) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these, e.g. 01 (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks at a time (default: 2)")
    parser.add_argument("--exercises-only", action="store_true", help="run nothing")
    parser.add_argument("--run-one", metavar="PATH", help=argparse.SUPPRESS)
    return parser.parse_args()


def _named(path: Path, names: list[str]) -> bool:
    return any(path.name.startswith(name) for name in names)


def make_exercises() -> list[Path]:
    """Write each exercise notebook that is not in step with its solution."""
    made = []
    for solution_path in sorted((NOTEBOOKS / "solutions").glob("*.ipynb")):
        path = NOTEBOOKS / solution_path.name
        exercise = exercise_from(read(solution_path))
        if path.exists():
            _keep_outputs(exercise, read(path))
        write(exercise, path)
        made.append(path)
    return made


def _keep_outputs(exercise: Any, saved: Any) -> None:
    """Outputs stay only when all code is unchanged: a mixture would not be one clean run."""
    new_code, old_code = (
        [cell for cell in notebook.cells if cell.cell_type == "code"]
        for notebook in (exercise, saved)
    )
    if [cell.source for cell in new_code] != [cell.source for cell in old_code]:
        return
    for new, old in zip(new_code, old_code, strict=True):
        new.outputs, new.execution_count = old.outputs, old.execution_count


def _prepare_environment() -> None:
    """What every kernel inherits."""
    for name in (
        "RERANK_URL", "RERANK_API_KEY", "RERANK_KIT_LANGUAGE", "RERANK_MODEL",
        "PYTHONDONTWRITEBYTECODE",
    ):  # fmt: skip
        os.environ.pop(name, None)
    os.environ["RERANK_PROFILE"] = "practice"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")])
    )
    sys.path.insert(0, str(PROJECT))


def _run_in_turn(paths: list[Path]) -> list[bool]:
    return [_run_in_a_process(path) for path in paths]


def _run_in_a_process(path: Path) -> bool:
    name = path.relative_to(NOTEBOOKS)
    command = [sys.executable, str(Path(__file__).resolve()), "--run-one", str(path)]
    for attempt in range(1, ATTEMPTS + 1):
        started = time.monotonic()
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = child.communicate(timeout=NOTEBOOK_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            print(f"{name}: no end after {NOTEBOOK_TIMEOUT_SECONDS} s (attempt {attempt})")
            continue
        seconds = time.monotonic() - started
        good = child.returncode == 0
        tail = "" if good else f"\n{said.strip()[-3000:]}"
        print(f"{name}: {'saved' if good else 'NOT saved'} in {seconds:.0f} s{tail}", flush=True)
        return good
    return False


def _run_one(path: Path) -> int:
    """Run and save one notebook in this process."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_SECONDS,
        kernel_name="python3",
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        print(error)
        return 1
    clean(notebook)
    problems = output_problems(notebook)
    if problems:
        print("\n".join(problems))
        return 1
    write(notebook, path)
    return 0


def clean(notebook: Any) -> None:
    """Take away what says nothing to a reader: widget state and views, timings, versions."""
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3",
        },
        "language_info": {"name": "python"},
    })  # fmt: skip
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)
            output.pop("transient", None)


def read(path: Path) -> Any:
    return nbformat.read(str(path), as_version=4)


def write(notebook: Any, path: Path) -> None:
    """Write the file whole or not at all."""
    nbformat.validate(notebook)
    draft = path.with_suffix(".draft")
    draft.write_text(nbformat.writes(notebook, indent=1).rstrip("\n") + "\n", encoding="utf-8")
    os.replace(draft, path)


if __name__ == "__main__":
    sys.exit(main())
