"""The files of one checkout that the set-up uses, and the state file that says what is done."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

STATE_NAME = ".rerank_kit_setup.json"


@dataclass(frozen=True)
class Project:
    """The folders and files of one checkout that the set-up uses."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def state_file(self) -> Path:
        return self.venv / STATE_NAME

    @property
    def work(self) -> Path:
        return self.root / ".work"

    @property
    def log(self) -> Path:
        return self.work / "setup.log"

    @property
    def details(self) -> Path:
        return self.work / "setup-details.log"

    @property
    def unfinished(self) -> Path:
        """There while an installation is going on, or after it was killed."""
        return self.work / "setup-unfinished"

    @property
    def pins(self) -> Path:
        return self.root / "scripts" / "pins"


def inputs_hash(project: Project) -> str:
    """Changes when the dependencies do."""
    digest = hashlib.sha256()
    for path in [project.root / "pyproject.toml"] + sorted(project.pins.glob("*.txt")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def read_state(project: Project) -> Dict[str, Any]:
    """The state file, or nothing when there is none that can be read."""
    try:
        return dict(json.loads(project.state_file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def is_up_to_date(project: Project, build: Optional[str], extras: Sequence[str]) -> bool:
    """Whether nothing has to be done. `build` None: any build will do."""
    state = read_state(project)
    return (
        bool(state)
        and not project.unfinished.exists()
        and project.python.exists()
        and state.get("root") == str(project.root)
        and state.get("inputs") == inputs_hash(project)
        and (build is None or state.get("build") == build)
        and set(extras) <= set(state.get("extras") or [])
    )
