"""Remedies that apply themselves: diagnose a failed start, change one setting, try again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from rerank_kit.errors import LaunchError
from rerank_kit.registry import read_json_object, state_dir, write_json
from rerank_kit.server.server import Server
from rerank_kit.server.settings import RESERVED_FLAGS

#: More than three changes is no longer a slip in the settings: a person should look.
MOST_REMEDIES = 3


def launch_with_remedies(
    start: Callable[[tuple[str, ...]], Server],
    name: str,
    arguments: tuple[str, ...],
    tell: Callable[[str], None] | None = None,
) -> Server:
    """start(arguments), and again with the smallest cure of each failure that a setting cures.

    What worked is remembered under name (profile and model on this machine) and tried first
    the next time. tell is called with one sentence for each change; None prints it to stderr.
    Raises the last LaunchError when no untried setting is left.
    """
    say = tell or (lambda text: print(text, file=sys.stderr, flush=True))
    remembered = _remembered().get(name, [])
    current = with_settings(arguments, remembered)
    if remembered:
        say(f"using what helped the last time: {shlex.join(remembered)}")
    changes = list(remembered)
    tried: set[tuple[str, ...]] = {current}
    while True:
        try:
            server = start(current)
        except LaunchError as error:
            cure = _smallest_cure(error, current, tried)
            if cure is None or len(tried) > MOST_REMEDIES:
                raise
            change, why = cure
            say(f"{error.message}")
            say(f"trying again with {change}: {why}")
            current = with_settings(current, shlex.split(change))
            changes += shlex.split(change)
            tried.add(current)
        else:
            if changes:
                _remember(name, changes)
            return server


def with_settings(arguments: tuple[str, ...], change: list[str]) -> tuple[str, ...]:
    """arguments with the flags of change, in place of an earlier value of the same flag.

    >>> with_settings(("--max-model-len", "9", "--x"), ["--max-model-len", "4"])
    ('--x', '--max-model-len', '4')
    """
    replaced = {word.split("=", 1)[0] for word in change if word.startswith("--")}
    kept: list[str] = []
    skipping = False
    for word in arguments:
        if word.startswith("--"):
            skipping = word.split("=", 1)[0] in replaced
        if not skipping:
            kept.append(word)
    return (*kept, *change)


def _smallest_cure(
    error: LaunchError, current: tuple[str, ...], tried: set[tuple[str, ...]]
) -> tuple[str, str] | None:
    """(change, why) of the first setting that was not tried yet. Fixes are ordered, smallest
    change first; flags that the kit itself owns are not changed behind its back."""
    for fix in getattr(error.diagnosis, "fixes", ()):
        flag = fix.change.split("=", 1)[0].split(" ", 1)[0]
        if fix.kind != "setting" or not flag.startswith("-") or flag in RESERVED_FLAGS:
            continue
        if with_settings(current, shlex.split(fix.change)) not in tried:
            return fix.change, fix.why
    return None


def _path() -> Path:
    return state_dir() / "remedies.json"


def _remembered() -> dict[str, list[str]]:
    return read_json_object(_path())


def _remember(name: str, changes: list[str]) -> None:
    write_json(_path(), _remembered() | {name: changes})
