"""Set up the course inside Google Colab or a Kaggle notebook, whose kernel is already running.

    python scripts/hosted_setup.py [--print]

There is no .venv there: the notebook's own Python is the one that must have the packages. vLLM, for
the driver that is there, and what search needs are installed into it; Jupyter's own packages stay
as they are. NOT RUN on Colab or Kaggle (neither was at hand); run in a fresh environment of a
machine without a GPU. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from set_up import choice, machine, sources  # noqa: E402

#: Set by the two services (kagglehub, src/kagglehub/env.py).
SIGNS = {"COLAB_RELEASE_TAG": "Google Colab", "KAGGLE_KERNEL_RUN_TYPE": "Kaggle"}


def where(environment: Mapping[str, str]) -> str:
    """"Google Colab", "Kaggle", or "" for another machine."""
    return next((name for sign, name in SIGNS.items() if sign in environment), "")


def commands(chosen: choice.Choice, python: str) -> list[list[str]]:
    """What is run: uv by pip, which honours the overrides of the CPU build; then the packages."""
    pins = ROOT / "scripts" / "pins"
    extras = ",".join([*chosen.extras, "search"])
    install = [python, "-m", "uv", "pip", "install", "--python", python, "--break-system-packages",
               "--constraints", str(pins / f"{chosen.pins}.txt")]  # fmt: skip
    if chosen.build == "cpu":
        install += ["--overrides", str(pins / "cpu-overrides.txt")]
    return [
        [python, "-m", "pip", "install", "--quiet", "uv>=0.6"],
        [*install, f"{ROOT}[{extras}]"],
    ]


def run(command: list[str], chosen: choice.Choice) -> int:
    """The exit status. PyTorch's own page is added only where the package index has no CPU build
    of torch (as scripts/set_up/install.py does)."""
    print(shlex.join(command), flush=True)
    status = subprocess.run(command).returncode
    if status != 0 and chosen.build == "cpu" and "--overrides" in command:
        again = [*command, "--find-links", sources.TORCH_CPU_LINKS]
        print(f"once more with PyTorch's own page:\n{shlex.join(again)}", flush=True)
        status = subprocess.run(again).returncode
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", help="only print the commands")
    options = parser.parse_args()
    chosen = choice.choose_build(
        machine.read_machine(ROOT), os.environ.get("RERANK_KIT_BUILD", "auto")
    )
    print(f"{where(os.environ) or 'this machine'}: {chosen.build} ({chosen.reason})")
    for command in commands(chosen, sys.executable):
        if options.print:
            print(shlex.join(command))
            continue
        status = run(command, chosen)
        if status != 0:
            print("that failed: on Kaggle, is the internet switched on (Settings)?")
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
