"""Take a model to a machine that reaches no hub: rsync over ssh, then its own checksums there.

rsync goes on where a line broke. The check there needs no kit: sha256sum -c reads the list.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from rerank_kit.errors import InputError, SetupError
from rerank_kit.remote import SshTarget
from rerank_kit.remote.tunnel import connection_options, need_ssh
from rerank_kit.weights.checksums import LIST_NAME

_FOLDER = re.compile(r"[\w./+-][\w./+~-]*")


@dataclass(frozen=True)
class CopyCommands:
    """The three commands of a copy. folder: where the model is then, there."""

    folder: str
    make: list[str]
    copy: list[str]
    check: list[str]

    def __str__(self) -> str:
        return "\n".join(map(shlex.join, (self.make, self.copy, self.check)))


def copy_commands(
    folder: Path, target: SshTarget, to: str, *, ask: bool = True
) -> CopyCommands:
    """What copies the folder there and checks it. to: a folder there, within the home folder
    unless it begins with /. Raises SetupError without rsync or ssh, InputError without a list."""
    if not (folder / LIST_NAME).is_file():
        raise InputError(
            f"{folder} has no {LIST_NAME}: nobody could tell whether the copy is right.",
            hint=f"rerank-kit verify --write {shlex.quote(str(folder))}",
        )
    place = to.removeprefix("~/")
    if not _FOLDER.fullmatch(place):  # the shell over there reads it
        raise InputError(f"{to!r} is no folder to copy to.", hint="letters, digits, . / + - _")
    if shutil.which("rsync") is None:
        raise SetupError(
            "rsync is not installed here.",
            hint="apt-get install rsync, on both machines; or scp -r the folder, and there: "
            f"sha256sum -c {LIST_NAME}",
        )
    need_ssh()
    *words, login = target.words()
    ssh = ["ssh", *connection_options(ask), *words]
    # What is in the folder, also where the cache only links to it.
    host = f"[{target.host}]" if ":" in target.host else target.host
    there = f"{target.user}@{host}" if target.user else host
    return CopyCommands(
        place,
        [*ssh, login, f"mkdir -p {place}"],
        ["rsync", "--recursive", "--copy-links", "--times", "--partial", "--exclude", "*.part",
         "--exclude", ".cache", "-e", shlex.join(ssh), f"{folder.resolve()}/", f"{there}:{place}/"],
        [*ssh, login, f"cd {place} && sha256sum --check --quiet {LIST_NAME}"],
    )  # fmt: skip
