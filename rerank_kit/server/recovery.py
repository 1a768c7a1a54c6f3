"""Remedies that apply themselves: diagnose a failed start, change one setting, try again."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rerank_kit.errors import LaunchError, RerankKitError, SetupError
from rerank_kit.registry import read_json_object, state_dir, write_json
from rerank_kit.server import ladder
from rerank_kit.server.remedies import Fix
from rerank_kit.server.server import Server
from rerank_kit.server.settings import RESERVED_FLAGS
from rerank_kit.server.verdict import Diagnosis

#: After more changes than this the answer is no longer a setting: a person should look. (The
#: whole ladder of one card: cache, tokens, sequences, graphs, quantisation, length.)
MOST_REMEDIES = 6
#: What the remembered setting itself may be to blame for, after an upgrade of vLLM for example.
_MEMORY_IS_STALE = ("bad_argument", "other", "unknown", "quantization", "dtype_unsupported")
_SHORT_FLAGS = {"-q": "--quantization", "-tp": "--tensor-parallel-size",
                "-pp": "--pipeline-parallel-size", "-dp": "--data-parallel-size"}  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """One start: the model (None: the kit chooses) and vLLM's own flags."""

    model: str | None
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Remedy:
    """A change that was made after a failure, in one sentence. diagnosis: of that failure."""

    diagnosis: Diagnosis | None
    failure: str
    change: str
    why: str

    def __str__(self) -> str:
        how = self.change if self.change.startswith("without ") else f"with {self.change}"
        return f"{self.failure}: trying again {how} ({self.why.rstrip('.')})."


RemedyCallback = Callable[[Remedy], None]


def launch_with_remedies(
    start: Callable[[Attempt], Server],
    situation: Callable[[Attempt], ladder.Situation],
    name: str,
    wanted: Attempt,
    on_remedy: RemedyCallback | None = None,
) -> Server:
    """start(wanted), and again with the cheapest cure of each failure that a setting cures.

    What worked is remembered under name (profile, model, GPU) together with the wanted flags,
    and tried first the next time. on_remedy is called for each change; None prints it to stderr.
    Raises the last LaunchError when no untried setting is left, or after MOST_REMEDIES changes.
    """
    tell = on_remedy or (lambda remedy: print(remedy, file=sys.stderr, flush=True))
    key = f"{name} {shlex.join(wanted.arguments)}".strip()
    remembered = _remembered(key)
    current = remembered or wanted
    if remembered:
        tell(Remedy(None, "The last start needed help", _words(remembered), "it worked then"))
    tried, changed_flags = {current}, set[str]()
    while True:
        try:
            server = start(current)
        except LaunchError as error:
            family = getattr(error.diagnosis, "family", "unknown")
            if current == remembered and family in _MEMORY_IS_STALE:
                back = Fix("setting", _words(wanted), "what helped before fails now")
                cure: tuple[Attempt, Fix] | None = (wanted, back)
            else:
                cure = _cheapest_cure(error, current, tried, changed_flags, situation)
            if cure is None or len(tried) > MOST_REMEDIES:
                raise
            current, fix = cure
            title = getattr(error.diagnosis, "title", "") or error.message
            change = f"without {fix.change}" if fix.kind == "without" else fix.change
            tell(Remedy(error.diagnosis, title.rstrip("."), change, fix.why))
            tried.add(current)
            changed_flags.add(_flag(fix.change.split(" ", 1)[0]))
        else:
            if current != wanted and current != remembered:
                _remember(key, current)
            return server


def changed(attempt: Attempt, fix: Fix) -> Attempt:
    """The attempt with a fix applied."""
    words = shlex.split(fix.change)
    if fix.kind == "model":
        return replace(attempt, model=words[1])
    arguments = with_settings(attempt.arguments, words)
    if fix.kind == "without":
        arguments = arguments[: -len(words)]
    return replace(attempt, arguments=arguments)


def with_settings(arguments: tuple[str, ...], change: list[str]) -> tuple[str, ...]:
    """arguments with the flags of change, in place of an earlier value of the same flag.

    >>> with_settings(("--max-model-len", "9", "--x"), ["--max-model-len", "4"])
    ('--x', '--max-model-len', '4')
    """
    replaced = {_flag(word) for word in change if _is_flag(word)}
    kept: list[str] = []
    skipping = False
    for word in arguments:
        if _is_flag(word):
            skipping = _flag(word) in replaced
        if not skipping:
            kept.append(word)
    return (*kept, *change)


def _is_flag(word: str) -> bool:
    return re.match(r"--?[a-zA-Z]", word) is not None


def _flag(word: str) -> str:
    name = word.split("=", 1)[0]
    return _SHORT_FLAGS.get(name, name)


def _cheapest_cure(
    error: LaunchError,
    current: Attempt,
    tried: set[Attempt],
    changed_flags: set[str],
    situation: Callable[[Attempt], ladder.Situation],
) -> tuple[Attempt, Fix] | None:
    """The first cure that was not tried yet; flags that the kit itself owns are not changed
    behind its back."""
    if error.diagnosis is None:
        return None
    try:
        fixes = ladder.cures(error.diagnosis, situation(current))
    except RerankKitError:  # the settings cannot even be made any more
        fixes = [fix for fix in error.diagnosis.fixes if fix.kind == "setting"]
    untried = []
    for fix in fixes:
        flag = _flag(fix.change.split(" ", 1)[0])
        if not _is_flag(flag) or (flag in RESERVED_FLAGS and fix.kind != "model"):
            continue
        attempt = changed(current, fix)
        if attempt not in tried:
            untried.append((flag in changed_flags, attempt, fix))
    # Each rung once before any of them a second time: a start costs minutes.
    untried.sort(key=lambda one: one[0])
    return untried[0][1:] if untried else None


def _words(attempt: Attempt) -> str:
    model = f"--model {attempt.model} " if attempt.model else ""
    return f"{model}{shlex.join(attempt.arguments)}".strip() or "no extra flags"


def _path() -> Path:
    return state_dir() / "remedies.json"


def _remembered(key: str) -> Attempt | None:
    value = read_json_object(_path()).get(key)
    try:
        return Attempt(value["model"], tuple(value["arguments"])) if value else None
    except (KeyError, TypeError):
        return None  # as an earlier version wrote it


def _remember(key: str, worked: Attempt) -> None:
    with contextlib.suppress(SetupError):  # the server runs all the same
        write_json(_path(), read_json_object(_path()) | {key: asdict(worked)})
