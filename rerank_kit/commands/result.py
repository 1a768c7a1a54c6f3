"""What a command returns, and how it talks to people while it works."""

from __future__ import annotations

import argparse
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Result:
    """good: exit code 0. text: for people. data: what --json prints."""

    good: bool
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)


class AddCommand(Protocol):
    """command(name, run, help text) -> the command's parser, --json already in it."""

    def __call__(
        self, name: str, run: Callable[[Namespace], Result], text: str
    ) -> ArgumentParser: ...


def say(options: Namespace, text: str) -> None:
    """A line for people while a command works; never on the stdout of --json."""
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)


def positive(text: str) -> int:
    """A positive whole number, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return number


def port_number(text: str) -> int:
    """A TCP port, for argparse."""
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return number
