"""download, verify and copy: a model's files, before a server needs them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_kit.commands.login import login_options, may_ask, target_of
from rerank_kit.commands.result import AddCommand, Result, say
from rerank_kit.errors import InputError, SetupError, UnreachableError

if TYPE_CHECKING:
    from rerank_kit.money import Meter
    from rerank_kit.weights import HubModel, Progress

GB = 1e9
#: Where there is no bar (a pipe, a log), a line so often.
LINE_SECONDS = 10.0


def add(command: AddCommand) -> None:
    _download_options(command("download", download, "fetch a model; goes on after a break"))
    check = command("verify", verify, "are a model's files still what they were?")
    check.add_argument("model", help="a folder, or the name of a model in the cache (0.6B)")
    check.add_argument(
        "--write", action="store_true", help="write the list of checksums of a good folder"
    )
    _copy_options(command("copy", copy, "take a model to a machine without network (rsync, ssh)"))


def download(options: Namespace) -> Result:
    from rerank_kit.money.meter import money
    from rerank_kit.weights import download as fetch_all

    meter = _meter(options)
    to = Path(options.to) if options.to else None
    started = time.monotonic()
    with _shown(options, meter) as show:
        try:
            done = fetch_all(
                options.model, to=to, hub=options.hub or "", branch=options.revision or "",
                on_start=lambda *facts: say(options, _beginning(*facts)), on_progress=show,
            )  # fmt: skip
        except KeyboardInterrupt:
            say(options, "what has come stays: the same command goes on from there")
            raise
    model, count = done.model, len(done.model.files)
    speed = done.fetched_bytes / done.seconds / 1e6 if done.seconds > 0 else 0.0
    use = f"--model {done.folder}" if to else f"--model {model.name}"
    lines = [
        f"done:    {done.fetched_bytes / GB:.2f} GB in {done.seconds:.0f} s "
        f"({speed:.0f} MB/s); all {count} files are what {model.hub.name} says",
        f"folder:  {done.folder}",
    ]
    data = {
        "model": model.name, "hub": model.hub.url, "revision": model.revision,
        "folder": str(done.folder), "files": count, "total_bytes": model.size,
        "fetched_bytes": done.fetched_bytes, "kept_bytes": done.kept_bytes,
        "seconds": round(done.seconds, 1),
    }  # fmt: skip
    if meter:
        cost, spent = meter.cost_of(time.monotonic() - started), meter.spent()
        lines.append(f"money:   {money(cost, meter.currency)} for the download, "
                     f"{money(spent, meter.currency)} since this machine is up")  # fmt: skip
        data |= {"cost": round(cost, 6), "spent": round(spent, 6)}
    lines.append(f"use:     rerank-kit launch {use}")
    return Result(True, "\n".join(lines), data)


def verify(options: Namespace) -> Result:
    from rerank_kit import weights

    folder = _folder(options.model)
    if options.write:
        path = weights.write_checksums(folder)
        say(options, f"written: {path}")
    found = weights.verify(folder)
    lines = [f"[fix]     {name}: its bytes have changed" for name in found.wrong]
    lines += [f"[fix]     {name} is missing" for name in found.missing]
    if found.good:
        lines = [f"[ok]      all {found.checked} files are whole, by {found.against}"]
    else:
        lines.append("          -> rerank-kit download or rerank-kit copy: only these are fetched")
    data = {"ok": found.good, "folder": str(folder), "checked": found.checked,
            "wrong": list(found.wrong), "missing": list(found.missing)}  # fmt: skip
    return Result(found.good, "\n".join(lines), data)


def copy(options: Namespace) -> Result:
    from rerank_kit.weights.copying import copy_commands

    folder = _folder(options.model)
    to = options.to or f"models/{folder.name}"
    target = target_of(options, options.vllm_flags or options.login or "")
    ask = options.print or may_ask(options)
    commands = copy_commands(folder, target, to, ask=ask)
    data = {"folder": commands.folder, "on": target.login, "commands": str(commands).splitlines()}
    if options.print:
        return Result(True, str(commands), data)
    say(options, f"copying {folder} to {commands.folder} of {target.host} ...")
    bar = [] if options.json or not sys.stderr.isatty() else ["--info=progress2"]
    copying = [commands.copy[0], *bar, *commands.copy[1:]]
    for words, what in ((commands.make, "login"), (copying, "copy"), (commands.check, "check")):
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.PIPE, text=True,
            errors="replace", check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise _copy_failed(what, target.host, done)
    text = (f"done:    all files there are what they are here\n"
            f"use:     rerank-kit launch --model {commands.folder}   (there)")  # fmt: skip
    return Result(True, text, data | {"ok": True})


def _copy_failed(
    what: str, host: str, done: subprocess.CompletedProcess[str]
) -> UnreachableError | SetupError:
    from rerank_kit.remote.tunnel import last_line

    said = last_line(done.stderr)
    if what == "check":
        return SetupError(f"The copy on {host} is not whole.", evidence=said,
                          hint="the same command again")  # fmt: skip
    if done.returncode == 127 or "rsync: command not found" in done.stderr:
        return SetupError(f"rsync is not installed on {host}.", evidence=said,
                          hint="apt-get install rsync, there")  # fmt: skip
    return UnreachableError(f"The {what} on {host} failed.", evidence=said,
                            hint="the same command goes on where it broke off")  # fmt: skip


def _folder(model: str) -> Path:
    from rerank_kit import models

    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    folder = models.local_folder(model)
    if folder is None:
        raise InputError(f"{model} is not on this machine.", hint=f"rerank-kit download {model}")
    return folder


def _beginning(model: HubModel, folder: Path, kept: int) -> str:
    here = f", {kept / GB:.2f} GB of it are here already" if kept else ""
    return (
        f"model:   {model.name}, revision {model.revision[:12]}\n"
        f"from:    {model.hub.name} ({model.hub.url})\n"
        f"to:      {folder}\n"
        f"size:    {model.size / GB:.2f} GB in {len(model.files)} files{here}"
    )


def _meter(options: Namespace) -> Meter | None:
    from rerank_kit.money import Meter

    if options.price_per_hour is None:
        return None
    return Meter(options.price_per_hour, options.currency)


@contextlib.contextmanager
def _shown(options: Namespace, meter: Meter | None) -> Iterator[Callable[[Progress], None]]:
    """Progress, speed, time left, money so far: a bar in a terminal, else a line now and then."""
    from tqdm import tqdm

    bar: tqdm | None = None
    last_line_at = time.monotonic()

    def show(now: Progress) -> None:
        nonlocal bar, last_line_at
        cost = _so_far(now, meter)
        if sys.stderr.isatty() and not options.json:
            if bar is None:
                bar = tqdm(total=now.total_bytes, initial=now.kept_bytes, unit="B",
                           unit_scale=True, file=sys.stderr)  # fmt: skip
            bar.set_postfix_str(cost, refresh=False)
            bar.update(now.done_bytes - bar.n)
        elif time.monotonic() - last_line_at >= LINE_SECONDS:
            last_line_at = time.monotonic()
            say(options, f"{_in_words(now)}{', ' if cost else ''}{cost}")

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _in_words(now: Progress) -> str:
    speed = now.bytes_per_second
    left = f", {(now.total_bytes - now.done_bytes) / speed:.0f} s left" if speed > 0 else ""
    return (f"{now.done_bytes / GB:.2f} of {now.total_bytes / GB:.2f} GB, "
            f"{speed / 1e6:.1f} MB/s{left}")  # fmt: skip


def _so_far(now: Progress, meter: Meter | None) -> str:
    from rerank_kit.money.meter import money

    return f"{money(meter.cost_of(now.seconds), meter.currency)} so far" if meter else ""


def _download_options(parser: ArgumentParser) -> None:
    parser.epilog = (
        "Without --to it goes where vLLM looks for it by name (HF_HOME). The hub is the one of "
        "HF_ENDPOINT or VLLM_USE_MODELSCOPE, else Hugging Face; a token is taken from HF_TOKEN. "
        "With --to, a list SHA256SUMS is written beside the files."
    )
    parser.add_argument("model", help="0.6B, 4B, 8B, or owner/name")
    parser.add_argument("--to", metavar="DIR", help="into this folder")
    parser.add_argument(
        "--hub", help="huggingface, mirror (hf-mirror.com), modelscope, or an address"
    )
    parser.add_argument("--revision", metavar="R", help="a branch or a commit (default: the main)")
    parser.add_argument("--price-per-hour", type=float, metavar="P", help="says the money so far")
    parser.add_argument("--currency", default="", metavar="C", help="only printed, e.g. CNY")


def _copy_options(parser: ArgumentParser) -> None:
    parser.epilog = (
        "The login as for tunnel: user@host, or the provider's whole ssh line in quotes or "
        "behind --. Goes on where it broke off; checked there with sha256sum."
    )
    parser.add_argument("model", help="a folder with a list of checksums (download --to makes it)")
    parser.add_argument("login", nargs="?", help="user@host, or a whole ssh line in quotes")
    parser.add_argument("--to", metavar="DIR", help="there (default: models/ and its name)")
    parser.add_argument("--print", action="store_true", help="only print the commands")
    login_options(parser)
