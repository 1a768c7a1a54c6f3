"""Which port a server gets: taken ones, two launches at once, a server that dies on its port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import clean

from rerank_kit import Server, errors, launch, machine
from rerank_kit.server import ports, process_group


def test_a_taken_port_is_refused_before_anything_starts(own_state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.PortInUseError, match=f"Port {port} is taken"):
            launch("practice", port=port)
    assert clean(own_state)


def test_a_stranger_on_the_port_does_not_pass_for_our_server(server: Server) -> None:
    """Story: two launches chose port 8000 at once; the loser found the winner's server
    answering there, scored its known pair on it and called itself ready."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                             start_new_session=True)  # fmt: skip
    try:
        assert process_group.listens(server.record.pid, server.record.port)
        assert not process_group.listens(child.pid, server.record.port)
    finally:
        child.kill()
        child.wait()


def test_two_launches_never_claim_the_same_port(own_state: Path) -> None:
    """Story: vLLM binds with SO_REUSEPORT, so two servers shared port 8000 and each got half
    of the other's requests."""
    port, claim = ports.claim(None)
    other, other_claim = ports.claim(None)
    try:
        assert port != other
        with pytest.raises(errors.PortInUseError):
            ports.claim(port)
    finally:
        os.close(claim)
        os.close(other_claim)
    again, claim = ports.claim(port)
    os.close(claim)
    assert again == port


DYING = """
import ctypes, os, socket, sys, threading, time
from rerank_kit.server import ports
port, claim = ports.claim(None)
listener = socket.create_server(("127.0.0.1", port), reuse_port=True)
print(port, flush=True)
sys.stdin.read()
threading.Thread(target=lambda: (time.sleep(1.5), os._exit(0))).start()
ctypes.CDLL(None).pthread_exit(None)  # the main thread is gone, the process is not
"""


def test_a_port_that_a_dying_server_still_holds_is_waited_for(own_state: Path) -> None:
    """Story: the soak killed a server under load and launched it again at once. Its main thread
    was gone, so it counted as dead; the other threads still held the port, and the launch said
    that another program had taken it."""
    child = subprocess.Popen([sys.executable, "-c", DYING], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, start_new_session=True)  # fmt: skip
    try:
        assert child.stdin and child.stdout
        port = int(child.stdout.readline())
        with pytest.raises(errors.PortInUseError):  # alive
            ports.claim(port)
        child.stdin.close()
        deadline = time.monotonic() + 60
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        again, claim = ports.claim(port)
        os.close(claim)
        assert again == port
    finally:
        child.kill()
        child.wait()


def test_the_server_holds_its_claim(server: Server) -> None:
    with pytest.raises(errors.PortInUseError):
        ports.claim(server.record.port)
    opened = [file.path for file in psutil.Process(server.record.pid).open_files()]
    assert any(path.endswith(f"rerank_kit_ports/{server.record.port}.lock") for path in opened)


@pytest.mark.full
def test_a_port_lost_to_a_stranger_is_given_up_for_another(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody binds the port after we looked and before vLLM does."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        monkeypatch.setattr(machine, "port_is_free", lambda *where: True)
        monkeypatch.setattr(ports, "DEFAULT_PORT", taken)
        with launch("practice") as running:
            assert running.record.port != taken
            assert running.reranker().score([("a", "b")])
    assert clean(own_state)
