"""The package as a whole: light to import, imports in one direction, no secrets, no stale parts."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import rerank_kit
from rerank_kit import errors

PACKAGE = Path(rerank_kit.__file__).parent
HEAVY = ("torch", "transformers", "vllm", "ipywidgets", "pandas", "matplotlib", "numpy")

#: Lower numbers may not import higher ones (DESIGN section 4).
LAYERS = (
    ("language",),
    ("end_with_main", "errors", "models", "other_rerankers", "quantisation", "run_vllm",
     "samples", "versions"),
    ("prompt", "machine", "registry"),
    ("memory",),
    ("client",),
    ("server",),
    ("doctor", "exercises", "search", "tuning", "money", "remote", "scale", "weights"),
    ("panels", "commands", "integrations"),
    ("cli",),
)


def test_import_is_light_and_quick() -> None:
    """Counted in computing time: on a busy machine it waits for its turn as well."""
    code = (
        "import time; t = time.process_time(); import rerank_kit; s = time.process_time() - t\n"
        f"import sys, json; print(json.dumps([s, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True,
                                  text=True, timeout=300).stdout)
        for _ in range(3)
    ]  # fmt: skip
    assert min(seconds for seconds, _ in runs) < 0.3
    assert all(loaded == [] for _, loaded in runs)


@pytest.mark.parametrize("module", ["client", "server", "doctor", "commands", "cli"])
def test_no_part_that_talks_to_a_server_loads_heavy_libraries(module: str) -> None:
    code = (
        f"import rerank_kit.{module}, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "[]"


def test_imports_run_one_way() -> None:
    level = {name: place for place, names in enumerate(LAYERS) for name in names}
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own.startswith("__"):
            continue
        assert own in level, f"{own} has no place in LAYERS yet"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                if node.module == "rerank_kit":
                    names = [alias.name for alias in node.names]
                elif node.module.startswith("rerank_kit."):
                    names = [node.module.split(".")[1]]
            for name in names:
                if name in level and name != own:
                    assert level[name] <= level[own], f"{path} imports {name}"


def test_widgets_live_in_panels_only() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "panels" not in path.parts:
            assert "import ipywidgets" not in path.read_text(encoding="utf-8"), path


def test_every_error_says_what_happened_and_what_to_try() -> None:
    error = errors.BadRequestError("It broke.", evidence="HTTP 400", hint="mend it")
    assert str(error) == "It broke.\n  evidence: HTTP 400\n  try: mend it"
    assert error.as_dict() == {
        "error": {
            "kind": "bad_request", "message": "It broke.", "hint": "mend it",
            "evidence": "HTTP 400",
        }
    }  # fmt: skip
    classes = [value for value in vars(errors).values() if hasattr(value, "kind")]
    kinds = [one.kind for one in classes]
    assert len(kinds) == len(set(kinds)), "two errors share a kind"
    assert issubclass(errors.LaunchTimeout, TimeoutError)


def test_public_names_exist() -> None:
    for name in rerank_kit.__all__:
        assert getattr(rerank_kit, name) is not None
    with pytest.raises(AttributeError):
        rerank_kit.no_such_name  # noqa: B018
