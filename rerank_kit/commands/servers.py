"""launch, status, logs, stop and demo: the life of a server."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import NamedTuple

from rerank_kit import registry
from rerank_kit.commands.far_launch import (
    far_launch_options,
    far_options,
    launch_on,
    stop_on,
)
from rerank_kit.commands.result import AddCommand, Result, port_number, positive, say
from rerank_kit.errors import InputError, NoServerError
from rerank_kit.language import localised


def add(command: AddCommand) -> None:
    _launch_options(command("launch", launch, "start a server, or attach to ours"))
    state = command("status", status, "which of our servers run, and do they answer?")
    state.add_argument(
        "--watch", action="store_true",
        help="what they do, every two seconds until Ctrl-C; with --json one look, then the end",
    )  # fmt: skip
    tail = command("logs", logs, "the end of a server's log")
    tail.add_argument("--lines", type=positive, default=40, metavar="N", help="default 40")
    end = command("stop", stop, "stop our servers and prove that they are gone")
    far_options(end)
    for made in (tail, end):
        made.add_argument("--port", type=port_number, help="only the server on this port")
    _profile_options(command("demo", demo, "launch, rank sample texts, stop"))


def launch(options: Namespace) -> Result:
    from rerank_kit import server

    if options.on:
        return launch_on(options)
    if options.engine == "sglang":
        return _sglang(options)
    profile, why = server.choose_profile(options.profile)
    if options.print:
        if profile == "remote":
            raise InputError("The remote profile starts nothing, so there is nothing to print.")
        settings = server.settings_for(profile, options.model, tuple(options.vllm_flags))
        command = settings.command_line(options.port or 8000)
        return Result(True, command, {"command": command, "profile": profile})
    say(options, localised(f"profile: {profile} ({why})"))
    running = server.launch(
        profile,
        options.model,
        port=options.port,
        timeout_seconds=options.timeout_seconds,
        extra_args=tuple(options.vllm_flags),
        owner_is_terminal=True,
        score_check=not options.no_score_check,
        recover=options.recover,
    )
    if running.record is None:
        data = {"url": running.url, "pid": None, "profile": profile, "model": running.model}
        return Result(True, f"{running.url} answers", data | {"state": "ready", "log_path": None})
    text = (
        f"ready:   {running.url}  (serves {running.model}, pid {running.record.pid})\n"
        f"log:     {running.record.log_path}\n"
        'try:     rerank-kit rank --query "..." --documents FILE\n'
        "stop:    rerank-kit stop"
    )
    return Result(True, text, running.record.public())


def _sglang(options: Namespace) -> Result:
    from rerank_kit.scale.sglang import sglang_command

    if not options.print:
        raise InputError(
            "The kit starts vLLM only; for SGLang it says the command.", hint="add --print"
        )
    command = sglang_command(options.model or "0.6B", port=options.port or 8000)
    return Result(True, command, {"command": command, "profile": "gpu", "engine": "sglang"})


def status(options: Namespace) -> Result:
    if options.watch:
        return _watch(options)
    guard = _guard()
    servers = [record.public() | {"state": _live_state(record)} for record in registry.living()]
    if not servers:
        nothing = dict.fromkeys(("url", "pid", "profile", "model", "log_path"))
        text = _with_guard("no server of ours is running on this machine", guard)
        data = nothing | {"state": "stopped", "servers": [], "guard": guard.facts}
        return Result(False, text, data)
    lines = [
        f"{one['state']:<14}{one['url']}  {one['profile']}  {one['served_name']}  pid {one['pid']}"
        for one in servers
    ]
    data = servers[-1] | {"servers": servers, "guard": guard.facts}
    good = all(one["state"] == "ready" for one in servers)
    return Result(good, _with_guard("\n".join(lines), guard), data)


def _watch(options: Namespace) -> Result:
    """A live view of every server of ours, and of RERANK_URL where it is set."""
    from rerank_kit.commands.watching import addresses, one_look, watch_until_interrupted

    if options.json:
        views = one_look(addresses())
        return Result(all("error" not in view for view in views), data={"servers": views})
    watch_until_interrupted(sys.stdout)
    return Result(True)


def logs(options: Namespace) -> Result:
    from rerank_kit.server.startup import log_tail

    found = _chosen(options.port)
    if found:
        path = Path(found[-1].log_path)
    else:
        kept = sorted((registry.state_dir() / "logs").glob("server-*.log"))
        if not kept:
            raise NoServerError("There is no log: no server was launched here yet.")
        path = kept[-1]
    tail = log_tail(path, options.lines)
    return Result(True, tail, {"log_path": str(path), "lines": tail.splitlines()})


def stop(options: Namespace) -> Result:
    from rerank_kit.scale.router import stop_recorded
    from rerank_kit.server.server import stop_record

    if options.on:
        return stop_on(options)
    reports = [(record, stop_record(record)) for record in _chosen(options.port)]
    routers = stop_recorded() if options.port is None else {}
    guard = _guard()
    if not reports and not routers:
        text = _with_guard("nothing of ours was running", guard, still=True)
        return Result(True, text, {"state": "stopped", "servers": [], "guard": guard.facts})
    good = all(not report.survivors for _, report in reports) and all(routers.values())
    lines = [f"{record.url}  {report.details}" for record, report in reports]
    lines += [
        f"router on port {port}: {'ended' if gone else 'did not end'}"
        for port, gone in routers.items()
    ]
    servers = [
        {"url": record.url, "pid": record.pid, "details": report.details,
         "survivors": list(report.survivors)}
        for record, report in reports
    ]  # fmt: skip
    state = "stopped" if good else "not stopped"
    text = _with_guard("\n".join(lines), guard, still=True)
    return Result(good, text, {"state": state, "servers": servers, "guard": guard.facts})


def demo(options: Namespace) -> Result:
    """Launch, rank the sample texts, print the tables, stop."""
    from rerank_kit import server
    from rerank_kit.samples import SAMPLES

    started = time.monotonic()
    profile, why = server.choose_profile(options.profile)
    say(options, f"profile: {profile} ({why}); starting the server ...")
    running = server.launch(profile)
    try:
        ready = time.monotonic() - started
        reranker = running.reranker()
        rankings = [reranker.rank(sample.query, sample.documents) for sample in SAMPLES]
    finally:
        report = running.stop()
    tables = "\n\n".join(str(ranking) for ranking in rankings)
    right = sum(
        ranking[0].index == sample.best for ranking, sample in zip(rankings, SAMPLES, strict=True)
    )
    text = (
        f"{tables}\n\nserver ready in {ready:.0f} s; "
        f"{right} of {len(SAMPLES)} samples rank as a person would\n{report.details}"
    )
    data = {
        "profile": profile,
        "ready_seconds": round(ready, 1),
        "rankings": [[document.as_dict() for document in ranking] for ranking in rankings],
        "stopped": report.details,
    }
    return Result(right == len(SAMPLES) and not report.survivors, text, data)


class _Guard(NamedTuple):
    """What is told of the guard: a line ("" when none is on duty), and the same for --json."""

    line: str
    facts: dict[str, object] | None


def _guard() -> _Guard:
    from rerank_kit.money.guard_files import read_budget, read_state
    from rerank_kit.money.guard_words import guard_facts, guard_line

    state, budget = read_state(), read_budget()
    return _Guard(guard_line(state, budget), guard_facts(state, budget))


def _with_guard(text: str, guard: _Guard, *, still: bool = False) -> str:
    if not guard.line:
        return text
    if still:
        return f"{text}\nstill on duty: {guard.line} (to end it: rerank-kit budget --off)"
    return f"{text}\n{guard.line}"


def _chosen(port: int | None) -> list[registry.ServerRecord]:
    found = [record for record in registry.living() if port in (None, record.port)]
    if port is not None and not found:
        raise NoServerError(
            f"No server of ours runs on port {port}.", hint="rerank-kit status lists them"
        )
    return found


def _live_state(record: registry.ServerRecord) -> str:
    """ready only if it answers now."""
    from rerank_kit.client.transport import Transport
    from rerank_kit.errors import RequestError

    if record.state != "ready":
        return record.state
    try:
        Transport(record.url, timeout_seconds=5.0, retries=0).get("/health")
    except RequestError:
        return "not answering"
    return "ready"


def _profile_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--profile",
        default=os.environ.get("RERANK_PROFILE") or "auto",
        help="auto, practice, cpu, gpu or remote (default: RERANK_PROFILE, else auto)",
    )


def _launch_options(parser: ArgumentParser) -> None:
    _profile_options(parser)
    parser.epilog = "vLLM's own flags go after --, e.g. rerank-kit launch -- --max-model-len 2048"
    parser.add_argument("--model", help="0.6B, 4B, 8B, a folder or a hub id")
    parser.add_argument("--port", type=port_number, help="default: 8000, or a free one")
    parser.add_argument("--timeout-seconds", type=positive, metavar="S", help="give up after S")
    parser.add_argument("--print", action="store_true", help="only print the vllm serve command")
    parser.add_argument(
        "--engine", choices=("vllm", "sglang"), default="vllm",
        help="with --print: the command for SGLang, which you start yourself",
    )  # fmt: skip
    parser.add_argument(
        "--recover", action="store_true", help="on a failure that a setting cures, apply it"
    )
    parser.add_argument(
        "--no-score-check", action="store_true", help="accept a server that scores wrongly"
    )
    far_launch_options(parser)
