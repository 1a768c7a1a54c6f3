"""What the commands for another machine share: how to log in to it."""

from __future__ import annotations

import sys
from argparse import Namespace, _ActionsContainer
from dataclasses import replace
from typing import TYPE_CHECKING

from rerank_kit.commands.result import port_number

if TYPE_CHECKING:
    from rerank_kit.remote import SshTarget


def login_options(parser: _ActionsContainer) -> None:
    """How to log in, beside user@host."""
    parser.add_argument("-p", "--ssh-port", type=port_number, metavar="N", help="ssh's port there")
    parser.add_argument("-i", "--identity", metavar="FILE", help="the private key to log in with")
    parser.add_argument("-J", "--jump", metavar="user@host", help="log in over this host")


def target_of(options: Namespace, pasted: str | list[str]) -> SshTarget:
    """The login that was given, with what the options say beside it."""
    from rerank_kit.remote import read_ssh_command

    target = read_ssh_command(pasted)
    for name, value in (("port", options.ssh_port), ("identity", options.identity),
                        ("jump", options.jump)):  # fmt: skip
        if value is not None:
            target = replace(target, **{name: value})
    return target


def may_ask(options: Namespace) -> bool:
    """Whether ssh may ask for a password: only where somebody sits."""
    return sys.stdin is not None and sys.stdin.isatty() and not options.json
