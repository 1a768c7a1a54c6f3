"""Show the panels as a web page (Voila), with a server behind them; Ctrl-C ends both."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Dict, List, Optional

from set_up import lab
from set_up.project import Project
from set_up.steps import SetupError

DEFAULT_PORT = 7860
HELP = """\
usage: bash scripts/webapp.sh [--port N] [--profile NAME] [--no-server] [--help]

Sets up what is missing and shows the panels as one web page, for people who do not code:
rank your own texts, search a folder, judge, launch, plan memory, tune, examine, watch the money.
The page is open to this machine only (127.0.0.1); from elsewhere it needs an SSH tunnel, and
the line for it is printed. Every viewer has a page of their own; the server is shared.

  --port N        the page's port (default: 7860)
  --profile NAME  the server's profile: auto (default), practice, cpu, gpu or remote. A server
                  of ours that already runs is used and left running at the end
  --no-server     start none; the page has a Launch tab
  --help          this text

Ctrl-C ends the page and the servers that were started for it or in it.
"""
_PROFILES = ("auto", "practice", "cpu", "gpu", "remote")
START_SECONDS = 180.0
FORGOTTEN_SECONDS = 3600


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of scripts/webapp.sh."""
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT)
    parser.add_argument(
        "--profile", choices=_PROFILES, default=os.environ.get("RERANK_PROFILE") or "auto"
    )
    parser.add_argument("--no-server", action="store_true")


def check_port(port: int) -> None:
    """Raises SetupError, with a port that is free, when another program listens there."""
    if lab.free_port(port) != port:
        raise SetupError(
            "Port %d is taken by another program." % port,
            "nothing was started",
            ["bash scripts/webapp.sh --port %d" % lab.free_port(port + 1)],
        )


def open_page(project: Project, environment: Dict[str, str], options: argparse.Namespace) -> int:
    """Start the page and the server, say where the page is, wait for Ctrl-C."""
    check_port(options.port)
    return WebApp(project, environment, options).run()


class WebApp:
    """The page's processes, and their end."""

    def __init__(
        self, project: Project, environment: Dict[str, str], options: argparse.Namespace
    ) -> None:
        self.project, self.options = project, options
        self.started = project.work / ("webapp-%d-servers" % options.port)
        self.environment = dict(environment)
        # What the panels start is written down there, so that Ctrl-C can end it.
        self.environment["RERANK_KIT_WEBAPP_SERVERS"] = str(self.started)
        self.environment["RERANK_PROFILE"] = options.profile
        self.environment["JUPYTER_PATH"] = os.pathsep.join(
            filter(None, [str(project.root / "scripts" / "webapp"), os.environ.get("JUPYTER_PATH")])
        )
        self.environment["PATH"] = "%s/bin:%s" % (project.venv, environment.get("PATH", ""))
        self.tool = str(project.venv / "bin" / "rerank-kit")
        self.page: Optional["subprocess.Popen[bytes]"] = None
        self.launcher: Optional["subprocess.Popen[str]"] = None
        self.stopping = threading.Event()

    def run(self) -> int:
        self.project.work.mkdir(parents=True, exist_ok=True)
        self.started.write_text("", encoding="utf-8")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        try:
            self._start_page()
            server = "" if self.options.no_server else self._server_that_runs()
            self._say_where()
            if server:
                _say("  server    %s (it already ran; it is left running at the end)" % server)
            elif not self.options.no_server:
                self._launch()
            _say("  stop      Ctrl-C")
            assert self.page is not None
            while not self.stopping.is_set():
                if self.page.poll() is not None:
                    _say("The page's process ended by itself; its log: %s" % self._log_path)
                    return 1
                self._look_at_the_launch()
                self.stopping.wait(0.2)
            return 0
        finally:
            self._end()

    @property
    def _log_path(self) -> Path:
        return self.project.work / "webapp.log"

    def _start_page(self) -> None:
        port = self.options.port
        command = [
            str(self.project.python), "-m", "voila", "app.ipynb",
            "--no-browser", "--Voila.ip=127.0.0.1", "--port=%d" % port,
            "--Voila.port_retries=0", "--template=rerank_kit",
            # A page that was left without a good-bye keeps no process for ever.
            "--MappingKernelManager.cull_idle_timeout=%d" % FORGOTTEN_SECONDS,
            "--MappingKernelManager.cull_interval=60",
        ]  # fmt: skip
        with open(self._log_path, "wb") as log:
            self.page = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=str(self.project.root / "notebooks"),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if self.page.poll() is not None or time.monotonic() > deadline:
                tail = self._log_path.read_text(encoding="utf-8", errors="replace")
                raise SetupError(
                    "The page did not start.",
                    "\n".join(tail.strip().splitlines()[-4:]),
                    ["all of its log: %s" % self._log_path],
                )
            if self.stopping.wait(0.1):
                return

    def _say_where(self) -> None:
        port = self.options.port
        _say("The panels are a web page now.")
        _say("  open      http://127.0.0.1:%d/" % port)
        _say("  dark      http://127.0.0.1:%d/?theme=dark" % port)
        lab._print_tunnel(port, self.environment)

    def _server_that_runs(self) -> str:
        """The address of a server that the panels will find; "" when there is none."""
        named = self.environment.get("RERANK_URL")
        if named:
            return named
        found = _json_of([self.tool, "status", "--json"], self.environment)
        return str(found.get("url") or "") if found.get("state") == "ready" else ""

    def _launch(self) -> None:
        _say("  server    starting (profile %s); the page shows how far it is"
              % self.options.profile)  # fmt: skip
        self.launcher = subprocess.Popen(
            [self.tool, "launch", "--profile", self.options.profile, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
            env=self.environment,
            cwd=str(self.project.root),
            start_new_session=True,
        )

    def _look_at_the_launch(self) -> None:
        """Once the launch has ended: say how."""
        if self.launcher is None or self.launcher.poll() is None:
            return
        said = self.launcher.communicate()[0]
        self.launcher = None
        try:
            answer = json.loads(said)
        except ValueError:
            answer = {}
        if answer.get("state") == "ready":
            _say("  server    ready: %s at %s" % (answer.get("served_name"), answer.get("url")))
            with open(self.started, "a", encoding="utf-8") as file:
                file.write("%s\n" % answer.get("port"))
            return
        error = answer.get("error") or {}
        _say("  server    none: %s" % error.get("message", "the launch gave no answer"))
        _say("            the Launch tab of the page can start it again")

    def _stop(self, number: int, frame: Optional[FrameType]) -> None:
        self.stopping.set()

    def _end(self) -> None:
        """End the page, what is being launched, and what was launched for it."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _say("\nStopping the page ...")
        if self.launcher is not None:
            _end_process(self.launcher, signal.SIGINT, 60)  # it stops what it was starting
        if self.page is not None:
            _end_process(self.page, signal.SIGTERM, 15)
        ports = sorted(set(self.started.read_text(encoding="utf-8").split()))
        self.started.unlink()
        for port in ports:
            done = _json_of([self.tool, "stop", "--port", port, "--json"], self.environment)
            for server in done.get("servers") or []:
                _say("%s  %s" % (server.get("url"), server.get("details")))
        _say("The page is closed.")


def _say(text: str) -> None:
    """Print a line. Where nobody reads any more (a dropped line), the clean-up goes on."""
    try:
        print(text, flush=True)
    except OSError:
        # Nothing may be left in the buffer: it would fail again at the exit.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")


def _end_process(process: "subprocess.Popen[Any]", number: int, seconds: float) -> None:
    """Signal a process's group, wait, kill what is left of it."""
    try:
        os.killpg(process.pid, number)
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        pass


def _json_of(command: List[str], environment: Dict[str, str]) -> Dict[str, Any]:
    """What a command of the kit prints with --json; empty when it says nothing."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            universal_newlines=True, timeout=120,
        )  # fmt: skip
        return dict(json.loads(done.stdout))
    except (subprocess.TimeoutExpired, ValueError):
        return {}


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _port(text: str) -> int:
    number = int(text)
    if not 1024 <= number <= 65535:
        raise argparse.ArgumentTypeError("%s is not a port from 1024 to 65535" % text)
    return number
