"""How each cloud is really stopped (providers.toml, each entry with its source)."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rerank_kit.errors import InputError

_DMI = Path("/sys/class/dmi/id")


@dataclass(frozen=True)
class Provider:
    """One cloud. inside: "yes", "token" or "no" - whether a command on the machine itself ends
    the billing of the GPU. command: its words, $NAME from the environment."""

    name: str
    title: str
    inside: str
    command: tuple[str, ...]
    words: str
    still_costs: str
    source: str
    checked: str
    how: str
    signs: tuple[str, ...] = ()

    def power_off_command(self, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """The command with its variables filled in. Raises InputError where nothing on the
        machine ends the billing, or where a variable is missing."""
        if self.inside == "no":
            raise InputError(
                f"Nothing on the machine itself ends the billing at {self.title}.",
                hint=f"{self.words} (let the guard stop the servers: --on-limit stop)",
            )
        values = os.environ if environment is None else environment
        missing = [
            name
            for word in self.command
            for name in re.findall(r"\$(\w+)", word)
            if not values.get(name)
        ]
        if missing:
            raise InputError(
                f"{self.title} sets {', '.join(missing)} on its machines; here it is not set.",
                hint="is this really such a machine? Else give --power-off-command",
            )
        return tuple(
            re.sub(r"\$(\w+)", lambda found: values[found[1]], word) for word in self.command
        )

    def __str__(self) -> str:
        command = " ".join(self.command) if self.command else "in the console only"
        lines = [
            f"{self.name} ({self.title}): {command}",
            f"  {self.words}",
            f"  still costs: {self.still_costs}",
            f"  source: {self.source} ({self.how}, {self.checked})",
        ]
        return "\n".join(lines)


@cache
def providers() -> dict[str, Provider]:
    """All known clouds by their short names."""
    text = (Path(__file__).parent / "providers.toml").read_text(encoding="utf-8")
    found = {}
    for name, entry in tomllib.loads(text).items():
        lists: dict[str, Any] = {key: tuple(entry.pop(key)) for key in ("command", "signs")}
        found[name] = Provider(name=name, **entry, **lists)
    return found


def provider_named(name: str) -> Provider:
    """A provider by its short name. Raises InputError."""
    try:
        return providers()[name.lower()]
    except KeyError:
        raise InputError(
            f"{name!r} is no provider known here.", hint=f"one of {', '.join(providers())}"
        ) from None


def provider_here(
    environment: Mapping[str, str] | None = None, dmi: Path = _DMI
) -> Provider | None:
    """The cloud that this machine belongs to, by its signs; None when nothing tells."""
    values = os.environ if environment is None else environment
    firmware = " ".join(_read(dmi / name) for name in ("sys_vendor", "product_name"))
    for provider in providers().values():
        for sign in provider.signs:
            kind, _, value = sign.partition(":")
            if (
                (kind == "env" and value in values)
                or (kind == "file" and Path(value).exists())
                or (kind == "dmi" and value in firmware)
            ):
                return provider
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
