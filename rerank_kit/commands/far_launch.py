"""launch --on and stop --on: the server's life on a machine that one can log in to."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace, _ActionsContainer
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rerank_kit.commands.result import Result, port_number, positive, say
from rerank_kit.errors import InputError

if TYPE_CHECKING:
    from rerank_kit.remote import RemoteKit, SshTarget


def launch_on(options: Namespace) -> Result:
    """Start a server there, open a tunnel to it, check its scores through it, stay open."""
    from rerank_kit.client import Reranker
    from rerank_kit.remote import Tunnel
    from rerank_kit.server.readiness import check_known_answers

    if options.profile == "remote":
        raise InputError("--on starts a server there.", hint="--profile auto, practice, cpu or gpu")
    if options.print or options.engine != "vllm":
        raise InputError("--print and --engine are for this machine.", hint="log in there for them")
    target = target_of(options, options.on)
    kit = _kit(options, target)
    say(options, f"logging in to {target.login} ...")
    there = kit.launch(_order(options), tries=options.tries, say=lambda text: say(options, text))
    where = f"port {there['port']} of {target.host}"
    say(options, f"there: ready, serves {there['served_name']}; opening a tunnel to {where} ...")
    stopped: dict[str, Any] = {}
    try:
        with Tunnel(target, remote_port=there["port"], ask=_may_ask(options)) as tunnel:
            if not options.no_score_check:
                check_known_answers(
                    Reranker(tunnel.url), practice=there["practice"], dtype=there["dtype"]
                )
            say(options, f"ready: {tunnel.url} is {where}; known answers are right through it\n"
                         f"use:   export RERANK_URL={tunnel.url}\n"
                         f"stop:  Ctrl-C {_what_ends(options)}")  # fmt: skip
            try:
                tunnel.keep_open(options.tries, lambda text: say(options, text))
            except KeyboardInterrupt:
                pass
    finally:
        if options.stop_there:
            stopped = kit.stop(there["port"])
    facts = {name: there[name] for name in ("pid", "profile", "model", "log_path", "served_name")}
    state = "left running" if not options.stop_there else (
        "stopped" if stopped["stopped"] else "not stopped"
    )
    data = {"url": tunnel.url, "on": target.login, "remote_port": there["port"], "state": state,
            "times_reopened": tunnel.times_reopened} | facts  # fmt: skip
    return Result(state != "not stopped", _last_words(state, stopped, options), data)


def stop_on(options: Namespace) -> Result:
    target = target_of(options, options.on)
    answer = _kit(options, target).stop(options.port)
    text = "\n".join(answer["details"]) or "nothing of ours was running there"
    return Result(answer["stopped"], f"{target.host}: {text}", answer | {"on": target.login})


def target_of(options: Namespace, pasted: str | list[str]) -> SshTarget:
    """The login that was given, with what the options say beside it."""
    from rerank_kit.remote import read_ssh_command

    target = read_ssh_command(pasted)
    for name, value in (("port", options.ssh_port), ("identity", options.identity),
                        ("jump", options.jump)):  # fmt: skip
        if value is not None:
            target = replace(target, **{name: value})
    return target


def login_options(parser: _ActionsContainer) -> None:
    """How to log in, beside user@host."""
    parser.add_argument("-p", "--ssh-port", type=port_number, metavar="N", help="ssh's port there")
    parser.add_argument("-i", "--identity", metavar="FILE", help="the private key to log in with")
    parser.add_argument("-J", "--jump", metavar="user@host", help="log in over this host")


def far_options(parser: ArgumentParser) -> None:
    """--on and what belongs to it."""
    group = parser.add_argument_group("on another machine")
    group.add_argument(
        "--on", metavar="LOGIN", help="user@host, or the provider's whole ssh line in quotes: do "
        "it there, with the kit that is there",
    )  # fmt: skip
    group.add_argument("--kit-there", default="", metavar="PATH",
                       help="the course's folder there (default: looked for)")  # fmt: skip
    login_options(group)


def far_launch_options(parser: ArgumentParser) -> None:
    far_options(parser)
    parser.add_argument("--stop-there", action="store_true",
                        help="with --on: Ctrl-C stops the server there too")  # fmt: skip
    parser.add_argument("--tries", type=positive, default=10, metavar="N",
                        help="with --on: log in again so often in a row (default 10)")  # fmt: skip


def _order(options: Namespace) -> dict[str, Any]:
    """What the other side is asked for. It travels through ssh's stdin: the key is in it."""
    return {
        "profile": options.profile, "model": options.model, "port": options.port,
        "timeout_seconds": options.timeout_seconds, "vllm_flags": options.vllm_flags,
        "recover": options.recover, "score_check": not options.no_score_check,
        "key": os.environ.get("RERANK_API_KEY", ""),
    }  # fmt: skip


def _kit(options: Namespace, target: SshTarget) -> RemoteKit:
    from rerank_kit.remote import RemoteKit

    return RemoteKit(target, folder=options.kit_there, ask=_may_ask(options))


def _may_ask(options: Namespace) -> bool:
    return sys.stdin.isatty() and not options.json


def _what_ends(options: Namespace) -> str:
    if options.stop_there:
        return "(ends the tunnel and the server there)"
    return "(ends the tunnel; the server there goes on: rerank-kit stop --on ...)"


def _last_words(state: str, stopped: dict[str, Any], options: Namespace) -> str:
    if state == "left running":
        return ("the tunnel is closed; the server there still runs: "
                f"rerank-kit stop --on {options.on!r}")  # fmt: skip
    return "the tunnel is closed; there: " + "; ".join(stopped["details"])
