"""Set up the environment of this project, then start what was asked for.

Called by scripts/start.sh, webapp.sh and test.sh; standard library only, Python 3.8 or newer.
Settings are environment variables; `bash scripts/start.sh --help` lists them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parent))

from set_up import choice, install, lab, machine, pins, reuse, uv, webapp, worker
from set_up.install import Plan
from set_up.project import Project, is_up_to_date, read_state
from set_up.steps import SetupError

#: What a person needs who opens the course.
COURSE = ["notebooks", "search"]
HELP = """\
usage: bash scripts/start.sh [--setup-only | --demo] [--new-lab] [--help]

Sets up what is missing, checks the machine, and opens JupyterLab on the course.
The second time it is ready in seconds.

  --setup-only  only set up
  --demo        launch the server of the `auto` profile, rank the sample texts, print the
                table, stop
  --new-lab     start a JupyterLab of our own even when one already runs
  --help        this text

settings (environment variables)
  RERANK_KIT_BUILD      auto (default), cpu, gpu (driver 580.65 or newer), gpu-cuda12 (525 to
                        580), remote (no vLLM: the server is elsewhere)
  RERANK_KIT_DATA_DIR   a folder on a large disk, for .venv and the model cache
  RERANK_KIT_LANGUAGE   zh: the course and the panels in Chinese
  RERANK_KIT_MIRROR     cn: package and model mirrors in China
  RERANK_KIT_PYTHON     the Python for .venv (3.11 to 3.13), such as python3.12
  RERANK_URL            the server of the `remote` profile; then no vLLM is installed
  PIP_..., UV_...       your package index settings are honoured, as are pip's files
"""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    project = Project(Path(__file__).resolve().parent.parent)
    command = words.pop(0) if words else "start"
    if command == "start" and ("-h" in words or "--help" in words):
        print(HELP, end="")
        return 0
    if command == "webapp" and ("-h" in words or "--help" in words):
        print(webapp.HELP, end="")
        return 0
    prog, usage = ("webapp.sh", webapp.HELP) if command == "webapp" else ("start.sh", HELP)
    parser = argparse.ArgumentParser(prog="scripts/" + prog, usage=usage, add_help=False)
    if command == "start":
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--setup-only", action="store_true")
        group.add_argument("--demo", action="store_true")
        parser.add_argument("--new-lab", action="store_true")
    elif command == "webapp":
        webapp.add_options(parser)
    elif command == "ensure":
        parser.add_argument("--extra", action="append", default=[])
    elif command == "_install":
        parser.add_argument("plan")
    elif command != "pin":
        print("unknown command: %s" % command, file=sys.stderr)
        return 2
    options = parser.parse_args(words)
    _leave_our_venv(project)
    try:
        if command == "_install":
            return _worker(project, options.plan)
        if command == "pin":
            return pins.write_all(project)
        if command == "ensure":
            ensure(project, COURSE + options.extra)
            return 0
        if command == "webapp":
            webapp.check_port(options.port)  # before a set-up that takes minutes
            ensure(project, COURSE)
            return webapp.open_page(project, course_environment(project), options)
        return start(project, options)
    except (SetupError, ValueError) as error:
        print("\n%s" % error, file=sys.stderr)
        return 1


def _leave_our_venv(project: Project) -> None:
    """With .venv activated, go on in the Python it was made from: .venv may have to be remade."""
    base = getattr(sys, "_base_executable", sys.executable)
    inside = os.path.realpath(sys.prefix) == os.path.realpath(str(project.venv))
    if inside and base != sys.executable and os.access(base, os.X_OK):
        sys.stdout.flush()
        os.execv(base, [base, os.path.abspath(__file__)] + sys.argv[1:])


def start(project: Project, options: argparse.Namespace) -> int:
    """start.sh: set up, check, open the course."""
    ensure(project, COURSE)
    if options.setup_only:
        return 0
    environment = course_environment(project)
    tool = str(project.venv / "bin" / "rerank-kit")
    if options.demo:
        sys.stdout.flush()
        os.chdir(str(project.root))
        os.execve(tool, [tool, "demo"], environment)
    print(flush=True)
    status = subprocess.call([tool, "check"], env=environment, cwd=str(project.root))
    if status != 0:
        print("\nThe lines marked [fix] can wait: the notebooks start without them.")
    print(flush=True)
    return lab.open_course(project, environment, options.new_lab)


def course_environment(project: Project) -> Dict[str, str]:
    """What JupyterLab and the demo inherit: the model cache's place, the hub mirror."""
    environment = dict(os.environ)
    data = environment.get("RERANK_KIT_DATA_DIR") or read_state(project).get("data_dir")
    if data:
        environment.setdefault("HF_HOME", os.path.join(os.path.abspath(str(data)), "huggingface"))
    if environment.get("RERANK_KIT_MIRROR") == "cn":
        environment.setdefault("HF_ENDPOINT", "https://hf-mirror.com")
    return environment


def ensure(project: Project, extras: List[str]) -> None:
    """Make .venv what it has to be; at once when it already is."""
    if os.name == "nt":
        raise SetupError(
            "These scripts need Linux or macOS; on Windows use WSL2, which counts as Linux.",
            "this Python runs on Windows itself",
            [
                "wsl --install, then run this inside WSL",
                'only the `remote` profile, without WSL: py -m pip install ".[notebooks]"',
            ],
        )
    wanted = os.environ.get("RERANK_KIT_BUILD", "auto")
    remote_url = bool(os.environ.get("RERANK_URL"))
    state = read_state(project)
    if state and _still_right(project, state, wanted, remote_url, extras):
        print(_ready_line(project))
        return
    lock = worker.take_lock(project)
    if lock is None:
        print("Another set-up is running here; following it.")
        worker.follow(project, None)
        if not is_up_to_date(project, None, extras):
            ensure(project, extras)
        return
    if is_up_to_date(project, None, extras) and not state:
        os.close(lock)  # another set-up ended between our look and our lock
        print(_ready_line(project))
        return
    child = worker.start_worker(project, lock, [_plan(project, wanted, remote_url, extras)])
    signal.signal(signal.SIGHUP, _line_dropped)
    worker.follow(project, child)
    if child.returncode != 0:
        raise SystemExit(1)
    print(_ready_line(project))


def _line_dropped(number: int, frame: object) -> None:
    os._exit(129)  # the worker goes on


def _still_right(
    project: Project, state: Dict[str, Any], wanted: str, remote_url: bool, extras: List[str]
) -> bool:
    """Whether the environment fits; looks at files only, so that it takes no time."""
    if not is_up_to_date(project, None, extras):
        return False
    build = str(state.get("build"))
    if os.environ.get("RERANK_KIT_PYTHON") and state.get("base_python") != uv.choose_python():
        return False
    if wanted not in ("", "auto"):
        return build == wanted
    if remote_url or state.get("asked") == "wish":
        return True  # a build chosen by hand stays until another one is chosen
    return state.get("asked") == "auto" and state.get("driver") == _driver_now()


def _driver_now() -> Optional[str]:
    """The driver's version from system files where there are any: takes no time."""
    return machine.read_driver(quick=True).version


def _plan(project: Project, wanted: str, remote_url: bool, extras: List[str]) -> str:
    """Decide, say what will be downloaded, stop when the disk is too small."""
    place = install.venv_place(project)
    here = machine.read_machine(place)
    chosen = choice.choose_build(here, wanted, remote_url)
    found: Optional[reuse.Found] = None
    passed: List[str] = []
    if chosen.build in ("gpu", "gpu-cuda12") and wanted in ("", "auto"):
        found, passed = reuse.find(project.root)
        if found:
            chosen = reuse.reuse_choice(found)
    version = " (vLLM %s)" % chosen.vllm_version if chosen.vllm_version else ""
    print("Build: %s%s, because %s." % (chosen.build, version, chosen.reason))
    for note in chosen.notes + ["Not reused: " + text for text in passed]:
        print("  " + note)
    if here.wsl:
        print("  WSL2 counts as Linux; the GPU driver is the one of Windows.")
    cache = str(install.cache_place())
    print(choice.download_table(chosen, str(place), cache, here.free_disk_gib))
    for disk, free in machine.larger_data_disks(project.root).items():
        if not os.environ.get("RERANK_KIT_DATA_DIR"):
            print("  %s has %.0f GiB free; to use it: RERANK_KIT_DATA_DIR=%s" % (disk, free, disk))
    short = choice.shortages(here, chosen, cached=project.state_file.exists())
    for text in short:
        print("  [fix] " + text)
    if any(text.startswith("disk") for text in short):
        raise SetupError(
            "Too little disk for the %s build." % chosen.build,
            short[0],
            [
                "set RERANK_KIT_DATA_DIR to a folder on a larger disk",
                "RERANK_KIT_BUILD=remote needs 1 GiB (the server is elsewhere)",
            ],
        )
    print(flush=True)
    state = read_state(project)
    kept = list(state.get("extras") or []) if state.get("build") == chosen.build else []
    names = sorted(set(extras + chosen.extras + kept))
    text = (project.pins / (chosen.pins + ".txt")).read_text(encoding="utf-8")
    return Plan(
        chosen.build,
        names,
        chosen.pins,
        found.python if found else uv.choose_python(),
        image_sites=found.sites if found else (),
        pins_text=reuse.image_pins(found, text) if found else "",
        asked="wish" if wanted not in ("", "auto") else "url" if remote_url else "auto",
        driver=_driver_now(),
    ).to_json()


def _ready_line(project: Project) -> str:
    state = read_state(project)
    return "Set-up: ready (%s build, Python %s, extras %s)." % (
        state.get("build"),
        state.get("python"),
        ", ".join(map(str, state.get("extras") or [])),
    )


def _worker(project: Project, plan: str) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        install.install(project, Plan(**json.loads(plan)))
    except SetupError as error:
        print("\n%s" % error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
