"""The commands of an installation: each with its name, time limit, progress and kept output."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import Dict, Sequence

from set_up import machine, sources
from set_up.project import Project


class SetupError(Exception):
    """What happened, the evidence, what to try."""

    def __init__(self, what: str, evidence: str = "", tries: Sequence[str] = ()) -> None:
        self.what, self.evidence, self.tries = what, evidence, list(tries)
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.evidence:
            parts = self.evidence.strip().splitlines()
            lines.append("  evidence: " + parts[0])
            lines += ["            " + part for part in parts[1:]]
        for number, text in enumerate(self.tries):
            lines.append(("  try:      " if number == 0 else "            ") + text)
        return "\n".join(lines)


class Steps:
    """Runs the steps of one installation: a line for each, its time limit, its output kept."""

    def __init__(self, project: Project, environment: Dict[str, str]) -> None:
        self.project, self.environment = project, environment
        self.output = ""

    def run(self, title: str, arguments: Sequence[object], limit_seconds: float) -> int:
        """Run a command; prints its name, its progress now and then, and how long it took."""
        print("%s ..." % title, flush=True)
        start, said = time.monotonic(), 0.0
        free = machine.free_disk_gib(self.project.root)
        self.output = ""
        with open(self.project.details, "a+", encoding="utf-8", errors="replace") as details:
            details.write("$ %s\n" % " ".join(map(str, arguments)))
            details.flush()
            begin = details.seek(0, os.SEEK_END)
            child = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=details,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=str(self.project.root),
            )
            while True:
                try:
                    status = child.wait(0.2)
                    break
                except subprocess.TimeoutExpired:
                    seconds = time.monotonic() - start
                    if seconds > limit_seconds:
                        child.kill()
                        child.wait()
                        status = 124
                        break
                    if seconds - said >= 10:
                        said = seconds
                        written = free - machine.free_disk_gib(self.project.root)
                        print(
                            "  %s, %.1f GiB written" % (duration(seconds), max(written, 0)),
                            flush=True,
                        )
            details.seek(begin)
            self.output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", details.read())
        if status == 0:
            print("  done in %s" % duration(time.monotonic() - start), flush=True)
        elif status == 124:
            self.output += "\nno end after %s" % duration(limit_seconds)
        return status

    def must(
        self,
        title: str,
        arguments: Sequence[object],
        limit_seconds: float,
        what: str,
        tries: Sequence[str] = (),
    ) -> None:
        """As `run`, but a failure is a SetupError."""
        if self.run(title, arguments, limit_seconds) != 0:
            raise explain(what, self.output, tries, self.project)


def duration(seconds: float) -> str:
    """For people: "12 s" or "3 min 05 s"."""
    whole = int(round(seconds))
    return "%d s" % whole if whole < 100 else "%d min %02d s" % divmod(whole, 60)


def explain(what: str, output: str, tries: Sequence[str], project: Project) -> SetupError:
    """A SetupError from a command's output: its most telling lines, and advice that fits them."""
    lines = [sources.hide_password(line.strip()) for line in output.splitlines() if line.strip()]
    telling = [
        line
        for line in lines
        if re.search(
            r"error|failed|cannot|could not|no space|denied|because|no end after", line, re.I
        )
    ]
    low = output.lower()
    advice = list(tries)
    if "no space left" in low or "disk quota" in low:
        advice.insert(0, "free some disk, or set RERANK_KIT_DATA_DIR to a folder on a larger disk")
    elif re.search(r"401|403|unauthorized|forbidden", low):
        advice.insert(0, "the package index refused: check the key in your pip or uv settings")
    elif "hash mismatch" in low:
        advice.insert(
            0, "the file differs from the tested one: try another index; do not go round it"
        )
    elif re.search(
        r"dns|connect|timed? ?out|tls|certificate|network|unreachable|resolve host", low
    ):
        advice.insert(0, "a mirror: RERANK_KIT_MIRROR=cn (China), or PIP_INDEX_URL=https://...")
        advice.insert(
            0,
            "check the network (proxy, firewall): the package source did not answer",
        )
    advice.append("run the same command again (it goes on where it stopped)")
    advice.append("all output: %s" % project.details)
    return SetupError(what, "\n".join((telling or lines)[-6:]), advice)
