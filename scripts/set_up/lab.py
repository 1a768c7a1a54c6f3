"""Open JupyterLab on the course, or use the one that already runs."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from set_up.machine import run
from set_up.project import Project
from set_up.steps import SetupError

FIRST_PORT = 8888
#: JupyterLab ends its kernels first; then it is killed.
TERM_SECONDS = 10.0
NOTEBOOK = "notebooks/00_start_here.ipynb"
CHINESE_NOTEBOOK = "notebooks/zh-CN/00_start_here.ipynb"


def free_port(first: int = FIRST_PORT) -> int:
    """The first free loopback port from `first` up."""
    for port in range(first, first + 200):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SetupError("No free port between %d and %d." % (first, first + 199))


def first_notebook(project: Project, environment: Mapping[str, str]) -> Path:
    """Where the course begins, in the language of RERANK_KIT_LANGUAGE (the panels read it too)."""
    chinese = project.root / CHINESE_NOTEBOOK
    wanted = environment.get("RERANK_KIT_LANGUAGE", "").lower()
    return chinese if wanted.startswith("zh") and chinese.exists() else project.root / NOTEBOOK


def parse_servers(text: str) -> List[Dict[str, Any]]:
    """The servers in `jupyter server list --json`: one JSON object a line."""
    servers = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                servers.append(dict(json.loads(line)))
            except ValueError:
                continue
    return servers


def notebook_url(server: Mapping[str, Any], notebook: Path) -> Optional[str]:
    """The notebook's link on that server; None when it lies outside the server's folder."""
    root = Path(str(server.get("root_dir") or server.get("notebook_dir") or "/")).resolve()
    try:
        inside = notebook.resolve().relative_to(root)
    except ValueError:
        return None
    url = str(server.get("url", "")).rstrip("/") + "/lab/tree/" + inside.as_posix()
    token = str(server.get("token") or "")
    return url + ("?token=" + token if token else "")


def tunnel_line(port: int, environment: Mapping[str, str]) -> Optional[str]:
    """What to type on the laptop when this is an SSH session."""
    if not (environment.get("SSH_CONNECTION") or environment.get("SSH_TTY")):
        return None
    user = environment.get("USER") or environment.get("LOGNAME") or "root"
    return "ssh -N -L %d:127.0.0.1:%d %s@HOST -p PORT" % (port, port, user)


def running_servers(project: Project) -> List[Dict[str, Any]]:
    jupyter = project.venv / "bin" / "jupyter"
    status, text = run([str(jupyter), "server", "list", "--json"], 30)
    return parse_servers(text) if status == 0 else []


def open_course(project: Project, environment: Dict[str, str], new_lab: bool) -> int:
    """Print the link to the first notebook, starting JupyterLab when none runs."""
    notebook = first_notebook(project, environment)
    servers = [] if new_lab else running_servers(project)
    if servers:
        return _use_running(project, notebook, servers, environment)
    return _start(project, notebook, environment)


def _use_running(
    project: Project, notebook: Path, servers: List[Dict[str, Any]], environment: Dict[str, str]
) -> int:
    ours = [s for s in servers if str(s.get("root_dir")) == str(project.root)]
    server = (ours or [s for s in servers if notebook_url(s, notebook)] or servers)[0]
    if not ours:
        command = [
            str(project.python),
            "-m",
            "ipykernel",
            "install",
            "--user",
            "--name",
            "rerank-kit",
            "--display-name",
            "rerank-kit",
        ]
        if environment.get("HF_HOME"):
            command += ["--env", "HF_HOME", environment["HF_HOME"]]
        status, text = run(command, 60)
        if status != 0:
            raise SetupError(
                "Our kernel could not be registered.",
                text.strip()[-400:],
                ["bash scripts/start.sh --new-lab"],
            )
    url = notebook_url(server, notebook)
    print("JupyterLab already runs here (port %s)." % server.get("port"))
    print("  open      %s" % (url or notebook))
    if url is None:
        print(
            "            (that file is outside the folder this JupyterLab shows: %s)"
            % server.get("root_dir")
        )
    if not ours:
        print("  kernel    choose `rerank-kit` at the top right of the notebook")
        print("  or        bash scripts/start.sh --new-lab   starts a JupyterLab of our own")
    _print_tunnel(int(str(server.get("port") or FIRST_PORT)), environment)
    return 0


def _print_tunnel(port: int, environment: Mapping[str, str]) -> None:
    tunnel = tunnel_line(port, environment)
    if tunnel:
        print("  first     on your own computer, with the host and port of your usual ssh command:")
        print("            %s" % tunnel)


def _quiet(project: Project) -> None:
    """No news and no update questions in front of the course (they ask an outside host, too)."""
    folder = project.venv / "share" / "jupyter" / "lab" / "settings"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
    text = json.dumps({"@jupyterlab/apputils-extension:notification": settings})
    (folder / "overrides.json").write_text(text, encoding="utf-8")


def _start(project: Project, notebook: Path, environment: Dict[str, str]) -> int:
    """Start JupyterLab in its own session: a dropped line does not end it, Ctrl-C does."""
    _quiet(project)
    port, token = free_port(), secrets.token_hex(24)
    lab_environment = {**environment, "JUPYTER_TOKEN": token}
    lab_environment["PATH"] = "%s/bin:%s" % (project.venv, environment.get("PATH", ""))
    command = [
        str(project.venv / "bin" / "jupyter"),
        "lab",
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=%d" % port,
        "--ServerApp.port_retries=0",
        "--ServerApp.root_dir=%s" % project.root,
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # root is the rule on rented machines; loopback only
    log_path = project.work / "jupyterlab.log"
    descriptor = os.open(str(log_path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as log:  # the log holds the token
        lab = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=lab_environment,
            start_new_session=True,
            cwd=str(project.root),
        )
    base = "http://127.0.0.1:%d" % port
    _wait_until_up(base, lab, log_path)
    inside = "/tree/" + notebook.relative_to(project.root).as_posix() if notebook.exists() else ""
    url = "%s/lab%s?token=%s" % (base, inside, token)
    print("JupyterLab is running.")
    print("  open      %s" % url)
    _print_tunnel(port, environment)
    print("  stop      Ctrl-C here, or: .venv/bin/jupyter server stop %d" % port)
    print(
        "  a dropped line or a closed window does not stop it; running this again prints the link",
        flush=True,
    )
    on_a_desktop = (
        sys.platform == "darwin" or environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    )
    if sys.stdout.isatty() and on_a_desktop and not tunnel_line(port, environment):
        webbrowser.open(url)
    return _wait_for_end(lab)


def _wait_until_up(base: str, lab: "subprocess.Popen[bytes]", log_path: Path) -> None:
    for _ in range(600):
        if lab.poll() is None:
            try:
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                    base + "/api", timeout=5
                ).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
                continue
        break
    if lab.poll() is None:
        os.killpg(lab.pid, signal.SIGTERM)
    tail = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-4:]
    raise SetupError(
        "JupyterLab did not start.", "\n".join(tail), ["all of its log: %s" % log_path]
    )


class _ToldToStop(BaseException):
    """Ctrl-C, or SIGTERM."""


def _wait_for_end(lab: "subprocess.Popen[bytes]") -> int:
    def stop(number: int, frame: object) -> None:
        # Nothing is waited for in here: wait() below holds a lock until this has left it.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise _ToldToStop

    try:
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        return lab.wait()
    except _ToldToStop:
        if lab.poll() is None:
            os.killpg(lab.pid, signal.SIGTERM)
    try:
        lab.wait(TERM_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(lab.pid, signal.SIGKILL)
        lab.wait()
    print(
        "\nJupyterLab stopped. A model server that a notebook started is ended with:"
        " .venv/bin/rerank-kit stop"
    )
    return 0
