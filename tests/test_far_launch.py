"""`rerank-kit launch --on`: a server started on another machine over a real ssh login. The other
machine is this one with a second copy of the kit, a state folder of its own, and a real sshd."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from login_server import needs_sshd, sshd, target
from processes import clean, cli, end_all, free_ports, vllm_processes, wait_until
from proxies import KEY

import rerank_kit
from rerank_kit import Reranker, Server, errors, machine
from rerank_kit.remote import RemoteKit, SshTarget, Tunnel


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The other machine's disk: a copy of the package, a Python, a state folder."""
    folder = tmp_path_factory.mktemp("there")
    package = Path(rerank_kit.__file__).parent
    shutil.copytree(package, folder / "rerank_kit", ignore=shutil.ignore_patterns("__pycache__"))
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PWD" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    yield folder
    with contextlib.suppress(psutil.NoSuchProcess):
        end_all(psutil.Process(pid) for pid in vllm_processes(folder / "state"))


def its_state(there: Path) -> str:
    return f"SetEnv RERANK_KIT_STATE_DIR={there}/state"


@contextmanager
def launch_on(keys: Path, port: int, there: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    login = " ".join(["ssh", *target(keys, port).words()])
    child = subprocess.Popen(
        [sys.executable, "-m", "rerank_kit", "launch", "--on", login, "--kit-there", str(there),
         "--profile", "practice", "--json", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"RERANK_API_KEY": KEY},
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def said_until(child: subprocess.Popen[str], word: str) -> list[str]:
    """What the command says until a line holds the word."""
    assert child.stderr is not None
    lines: list[str] = []
    for line in child.stderr:
        lines.append(line.rstrip())
        if word in line:
            return lines
    raise AssertionError("\n".join(lines))


def said_until_it_starts(child: subprocess.Popen[str], there: Path) -> list[str]:
    """The same, until the server's process is there."""
    said = said_until(child, "there: ")
    wait_until(lambda: child.poll() is not None or vllm_processes(there / "state"), 180)
    return said


def break_the_line(login_server: psutil.Process) -> None:
    """The login server stays, its logins end."""
    end_all(login_server.children(recursive=False))


@needs_sshd
@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_server_is_launched_used_left_and_stopped_on_the_other_machine(
    keys: Path, there: Path
) -> None:
    port = machine.free_port()
    with sshd(keys, port, settings=its_state(there)) as login_server:
        with launch_on(keys, port, there) as child:
            said = said_until_it_starts(child, there)
            # The line breaks while the server starts: it goes on there, and we log in again.
            break_the_line(login_server)
            said += said_until(child, "export RERANK_URL=")
            assert any("The start there goes on" in line for line in said)
            assert any("there: " in line and "%" in line for line in said)  # its progress
            url = said[-1].partition("RERANK_URL=")[2]
            with pytest.raises(errors.AuthError):
                Reranker(url, api_key="").score([("a", "b")])
            assert len(Reranker(url, api_key=KEY).score([("a", "b")])) == 1
            lines = [" ".join(one.info["cmdline"] or ()) for one in
                     psutil.process_iter(["cmdline"])]  # fmt: skip
            assert not any(KEY in line for line in lines)
            child.send_signal(signal.SIGINT)
            out, _ = child.communicate(timeout=300)
        done = json.loads(out)
        assert child.returncode == 0 and done["state"] == "left running"
        assert KEY not in out + "".join(said)
        assert machine.port_is_free(int(url.rpartition(":")[2]))
        running = vllm_processes(there / "state")
        assert done["pid"] in running and len(list((there / "state/servers").iterdir())) == 1

        # The second time the same command finds it. Ctrl-C at the very moment when the tunnel is
        # opened leaves it running, too, and says so.
        with launch_on(keys, port, there) as child:
            said_until(child, "opening a tunnel")
            child.send_signal(signal.SIGINT)
            out, _ = child.communicate(timeout=300)
        assert child.returncode == 0 and json.loads(out)["state"] == "left running"
        assert vllm_processes(there / "state") == running

        # The third time it ends it as well.
        with launch_on(keys, port, there, "--stop-there") as child:
            said_until(child, "export RERANK_URL=")
            assert vllm_processes(there / "state") == running
            child.send_signal(signal.SIGINT)
            out, _ = child.communicate(timeout=300)
        assert child.returncode == 0 and json.loads(out)["state"] == "stopped"
        assert clean(there / "state")


@needs_sshd
@pytest.mark.full
@pytest.mark.timeout(600)
def test_ctrl_c_during_the_start_ends_it_there_too(keys: Path, there: Path) -> None:
    port = machine.free_port()
    with sshd(keys, port, settings=its_state(there)), launch_on(keys, port, there) as child:
        said_until_it_starts(child, there)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=300)
        assert child.returncode == 130, said
        assert clean(there / "state")


@needs_sshd
@pytest.mark.full
@pytest.mark.timeout(600)
def test_ctrl_c_after_the_line_broke_ends_the_start_there_too(keys: Path, there: Path) -> None:
    """The second login joins the start of the first; it must not leave that behind."""
    port = machine.free_port()
    with sshd(keys, port, settings=its_state(there)) as login_server:
        with launch_on(keys, port, there) as child:
            said_until_it_starts(child, there)
            break_the_line(login_server)
            said_until(child, "The start there goes on")
            said_until(child, "there: ")
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=300)
            assert child.returncode == 130, said
            assert clean(there / "state")


@needs_sshd
@pytest.mark.full
@pytest.mark.timeout(600)
def test_ctrl_c_while_the_line_is_broken_says_what_goes_on(keys: Path, there: Path) -> None:
    port = machine.free_port()
    with (
        sshd(keys, port, settings=its_state(there)) as login_server,
        launch_on(keys, port, there) as child,
    ):
        said_until_it_starts(child, there)
        end_all([login_server, *login_server.children(recursive=False)])
        said_until(child, "The start there goes on")
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=300)
    error = json.loads(out)["error"]
    assert child.returncode == 1 and "goes on" in error["message"]
    assert vllm_processes(there / "state")
    with sshd(keys, port, settings=its_state(there)):  # the line that is said ends it
        command, *words = shlex.split(error["hint"].rpartition("to end it: ")[2])
        done = cli(*words, "--json")
    assert command == "rerank-kit" and json.loads(done.stdout)["stopped"] is True, done.stderr
    assert clean(there / "state")


@needs_sshd
@pytest.mark.full
def test_a_server_that_no_tunnel_reaches_is_not_forgotten(
    server: Server, keys: Path, tmp_path: Path
) -> None:
    assert server.record is not None
    port, state = machine.free_port(), os.environ["RERANK_KIT_STATE_DIR"]
    there = tmp_path / "python"  # joins the server that runs here already
    there.write_text(
        f"#!/bin/sh\nRERANK_KIT_STATE_DIR={state} "
        f'PYTHONPATH={Path(rerank_kit.__file__).parents[1]} exec {sys.executable} "$@"\n'
    )
    there.chmod(0o755)
    with sshd(keys, port, settings="DisableForwarding yes"), launch_on(keys, port, there) as child:
        out, said = child.communicate(timeout=300)
    assert child.returncode == 1 and json.loads(out)["error"]["kind"] == "unreachable", out + said
    assert "still runs: rerank-kit stop --on" in said and server.record.is_alive()


@needs_sshd
def test_what_goes_wrong_there_is_told_here(keys: Path, there: Path, tmp_path: Path) -> None:
    port = machine.free_port()
    with sshd(keys, port, settings=its_state(there)):
        kit = RemoteKit(target(keys, port), folder=str(there))
        with pytest.raises(errors.RerankKitError, match="There: .*no profile"):
            kit.launch({"profile": "nonsense"}, tries=0, say=print)
        with pytest.raises(errors.RerankKitError, match="There: --host cannot be passed"):
            order = {"profile": "practice", "vllm_flags": ["--host", "0.0.0.0"]}
            kit.launch(order, tries=0, say=print)
        assert kit.stop() == {"stopped": True, "details": []}
        with pytest.raises(errors.SetupError, match="not found") as failure:
            RemoteKit(target(keys, port), folder=str(tmp_path)).stop()
        assert "start.sh --setup-only" in failure.value.hint
        done = cli("stop", "--json", "--kit-there", str(there), "--on",
                   " ".join(["ssh", *target(keys, port).words()]))  # fmt: skip
        assert json.loads(done.stdout)["stopped"] is True
    said: list[str] = []
    with pytest.raises(errors.UnreachableError) as unreachable:  # nothing was begun: no new tries
        kit.launch({}, tries=5, say=said.append)
    assert "refused" in unreachable.value.evidence.lower() and said == []


def test_ending_what_has_just_ended_is_no_error() -> None:
    """A login ends by itself while its server is ended."""
    child = subprocess.Popen(["sleep", "600"])
    login = psutil.Process(child.pid)
    child.kill()
    child.wait()
    end_all([login])


# --- over a jump host


def test_a_jump_host_takes_the_same_key_and_settings() -> None:
    assert SshTarget("inner", "me", 22, "", "gate").words() == ["-J", "gate", "me@inner"]
    words = SshTarget("inner", "me", 23, "key", "a@one:2200,two").words()
    assert words[-1] == "me@inner" and "-J" not in words
    command = next(word for word in words if word.startswith("ProxyCommand="))
    assert command.startswith("ProxyCommand=ssh -W %h:%p") and command.endswith("-i key two")
    assert "ssh -W %%h:%%p -p 2200 -i key a@one" in command


@needs_sshd
def test_a_tunnel_over_two_jump_hosts_with_odd_ports(server: Server, keys: Path) -> None:
    assert server.record is not None
    inner, gate, outer = free_ports(3)
    me = getpass.getuser()
    over = f"{me}@127.0.0.1:{outer},{me}@127.0.0.1:{gate}"
    verbose = "LogLevel DEBUG1"
    with (
        sshd(keys, outer, settings=verbose, log="outer.log"),
        sshd(keys, inner, settings=verbose, log="inner.log"),
    ):
        with (
            sshd(keys, gate, settings=verbose, log="gate.log"),
            Tunnel(target(keys, inner, jump=over), remote_port=server.record.port) as tunnel,
        ):
            through = Reranker(tunnel.url).score([("a", "b")])
        assert through == pytest.approx(server.reranker().score([("a", "b")]), abs=1e-5)
        for name, onward in (("outer", gate), ("gate", inner), ("inner", server.record.port)):
            log = (keys / f"{name}.log").read_text()
            assert f"target 127.0.0.1 port {onward}" in log, name
        with pytest.raises(errors.UnreachableError, match="login"):  # one of them is away
            Tunnel(target(keys, inner, jump=over), remote_port=server.record.port)
