"""The libraries of the `search` extra, or one sentence on how to get them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rerank_kit.errors import SetupError


def need(module: str, purpose: str) -> Any:
    """Import a module of the search extra. Raises SetupError when it is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise  # another module is missing inside a library that is there
        raise SetupError(
            f"{purpose} needs {module}, which is not installed.",
            hint='pip install "rerank-kit[search]"; scripts/start.sh installs it with the course',
        ) from None
