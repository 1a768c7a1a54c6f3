"""This checkout's own files: what is declared, and what is pinned."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
PIN_FILES = {
    name: ROOT / "scripts" / "pins" / f"{name}.txt" for name in ("cpu", "gpu", "gpu-cuda12")
}
