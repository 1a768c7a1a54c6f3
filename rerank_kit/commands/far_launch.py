"""launch --on and stop --on: the server's life on a machine that one can log in to."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from rerank_kit.commands.login import login_options, may_ask, target_of
from rerank_kit.commands.result import Result, positive, say
from rerank_kit.errors import InputError, RerankKitError

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
    opened: Tunnel | None = None
    try:
        say(options, f"there: ready, serves {there['served_name']}; opening a tunnel to {where}")
        with Tunnel(target, remote_port=there["port"], ask=may_ask(options)) as tunnel:
            opened = tunnel
            if not options.no_score_check:
                check_known_answers(
                    Reranker(tunnel.url), practice=there["practice"], dtype=there["dtype"]
                )
            say(options, f"ready: {tunnel.url} is {where}; known answers are right through it\n"
                         f"use:   export RERANK_URL={tunnel.url}\n"
                         f"stop:  Ctrl-C {_what_ends(options)}")  # fmt: skip
            tunnel.keep_open(options.tries, lambda text: say(options, text))
    except KeyboardInterrupt:
        pass  # at any moment from here on: what becomes of the server there is said below
    except BaseException:
        words = _leave(kit, there["port"], options)[1]
        say(options, words)  # a server that nobody thinks of costs money
        raise
    state, words = _leave(kit, there["port"], options)
    facts = {name: there[name] for name in ("pid", "profile", "model", "log_path", "served_name")}
    data = {"url": opened.url if opened else None, "on": target.login,
            "remote_port": there["port"], "state": state,
            "times_reopened": opened.times_reopened if opened else 0} | facts  # fmt: skip
    return Result(state != "not stopped", words, data)


def stop_on(options: Namespace) -> Result:
    target = target_of(options, options.on)
    answer = _kit(options, target).stop(options.port)
    text = f"{target.host}: {_what_was_stopped(answer)}"
    return Result(answer["stopped"], text, answer | {"on": target.login})


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

    return RemoteKit(target, folder=options.kit_there, ask=may_ask(options))


def _what_ends(options: Namespace) -> str:
    if options.stop_there:
        return "(ends the tunnel and the server there)"
    return "(ends the tunnel; the server there goes on: rerank-kit stop --on ...)"


def _leave(kit: RemoteKit, port: int, options: Namespace) -> tuple[str, str]:
    """What becomes of the server there when the tunnel is closed: in a word, and for people."""
    closed = "the tunnel is closed; the server there"
    if not options.stop_there:
        return "left running", f"{closed} still runs: {kit.stop_command}"
    try:
        answer = kit.stop(port)
    except RerankKitError as error:
        return "not stopped", f"{closed} was NOT stopped ({error.message}): {kit.stop_command}"
    state = "stopped" if answer["stopped"] else "not stopped"
    return state, f"the tunnel is closed; there: {_what_was_stopped(answer)}"


def _what_was_stopped(answer: dict[str, Any]) -> str:
    return "\n".join(answer["details"]) or "nothing of ours was running there"
