"""What each command does. Every function takes the parsed options and returns a Result;
heavier parts of the package are imported where a command needs them, so --help stays quick."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_kit import registry
from rerank_kit.errors import InputError, NoServerError


@dataclass(frozen=True)
class Result:
    """good: exit code 0. text: for people. data: what --json prints."""

    good: bool
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def check(options: Namespace) -> Result:
    from rerank_kit import machine
    from rerank_kit.server import choose_profile

    findings = machine.report()
    profile, why = choose_profile("auto")
    good = all(finding.status != "fix" for finding in findings)
    lines = [*map(str, findings), f"[ok]      profile: {profile} ({why})"]
    data = {
        "ok": good,
        "profile": profile,
        "findings": [finding.as_dict() for finding in findings],
    }
    return Result(good, "\n".join(lines), data)


def plan(options: Namespace) -> Result:
    """Will it fit? Without --model, everything that could, the best first in full."""
    from rerank_kit import memory

    if options.gpu:
        device = memory.device_named(options.gpu)
    elif options.memory_gib is not None:
        device = memory.device_of(options.memory_gib)
    else:
        device = memory.device_here()
    if options.model:
        made = memory.plan(
            options.model, device,
            quantization=options.quantization, max_model_len=options.max_model_len,
        )  # fmt: skip
        return Result(made.verdict != memory.DOES_NOT_FIT, str(made), made.as_dict())
    compared = memory.every_plan(device, options.max_model_len, options.quantization)
    best = memory.best_of(compared, quantised=bool(options.quantization))
    data = best.as_dict() | {"compared": [one.as_dict() for one in compared]}
    text = f"{memory.table(compared)}\n\n{best}"
    return Result(best.verdict != memory.DOES_NOT_FIT, text, data)


def launch(options: Namespace) -> Result:
    from rerank_kit import server

    profile, why = server.choose_profile(options.profile)
    if options.print:
        if profile == "remote":
            raise InputError("The remote profile starts nothing, so there is nothing to print.")
        settings = server.settings_for(profile, options.model, tuple(options.vllm_flags))
        command = settings.command_line(options.port or 8000)
        return Result(True, command, {"command": command, "profile": profile})
    _say(options, f"profile: {profile} ({why})")
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


def status(options: Namespace) -> Result:
    servers = [record.public() | {"state": _live_state(record)} for record in registry.living()]
    if not servers:
        nothing = dict.fromkeys(("url", "pid", "profile", "model", "log_path"))
        text = "no server of ours is running on this machine"
        return Result(False, text, nothing | {"state": "stopped", "servers": []})
    lines = [
        f"{one['state']:<14}{one['url']}  {one['profile']}  {one['served_name']}  pid {one['pid']}"
        for one in servers
    ]
    data = servers[-1] | {"servers": servers}
    return Result(all(one["state"] == "ready" for one in servers), "\n".join(lines), data)


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
    from rerank_kit.server.server import stop_record

    reports = [(record, stop_record(record)) for record in _chosen(options.port)]
    if not reports:
        return Result(True, "nothing of ours was running", {"state": "stopped", "servers": []})
    good = all(not report.survivors for _, report in reports)
    lines = [f"{record.url}  {report.details}" for record, report in reports]
    servers = [
        {"url": record.url, "pid": record.pid, "details": report.details,
         "survivors": list(report.survivors)}
        for record, report in reports
    ]  # fmt: skip
    state = "stopped" if good else "not stopped"
    return Result(good, "\n".join(lines), {"state": state, "servers": servers})


def rank(options: Namespace) -> Result:
    from rerank_kit.client import Reranker
    from rerank_kit.client.documents import read_documents

    if not options.query.strip():
        raise InputError("The query is empty.", hint='--query "what you are looking for"')
    documents = read_documents(options.documents, paragraphs=options.paragraphs)
    ranking = Reranker(options.url).rank(
        options.query, documents, options.instruction, options.top_n,
        progress=None if sys.stderr.isatty() else False,
    )
    data = {
        "query": ranking.query,
        "instruction": ranking.instruction,
        "model": ranking.model,
        "results": [document.as_dict() for document in ranking],
        "notes": list(ranking.notes),
    }
    return Result(True, str(ranking), data)


def doctor(options: Namespace) -> Result:
    from rerank_kit.client.reranker import default_url
    from rerank_kit.doctor import examine

    found = examine(options.url or default_url())
    return Result(found.ok, f"{found.url}\n{found}", found.as_dict())


def diagnose(options: Namespace) -> Result:
    from rerank_kit.server.diagnosis import diagnose as read

    found = read(sys.stdin) if options.file == "-" else read(Path(options.file))
    return Result(found.family == "none", str(found), found.as_dict())


def demo(options: Namespace) -> Result:
    """Launch, rank the sample texts, print the tables, stop."""
    from rerank_kit import server
    from rerank_kit.samples import SAMPLES

    started = time.monotonic()
    profile, why = server.choose_profile(options.profile)
    _say(options, f"profile: {profile} ({why}); starting the server ...")
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


def _say(options: Namespace, text: str) -> None:
    """A line for people while a command works; never on the stdout of --json."""
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)
