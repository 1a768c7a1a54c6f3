"""A real sshd of our own on the loopback address, with its own keys: no root, no service."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from processes import end_all, wait_until

from rerank_kit import machine
from rerank_kit.remote import SshTarget

SSHD = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh-keygen") is None,
    reason="sshd is not installed (apt-get install openssh-server): no real tunnel can be tried",
)


def _without_penalties() -> str:
    """From OpenSSH 9.8 on a login that was killed, as tests do it, shuts out its address for 90 s.
    Older ones do not know the setting."""
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    penalises = version is not None and (int(version[1]), int(version[2])) >= (9, 8)
    return "PerSourcePenalties no\n" if penalises else ""


def new_keys(folder: Path) -> Path:
    """The folder, with the keys of a server and of a user who may log in."""
    for name in ("host_key", "user_key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(words, check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    port = machine.free_port()
    with sshd(folder, port):
        subprocess.run(["ssh", "-o", "BatchMode=yes", *target(folder, port).words(), "true"],
                       capture_output=True, timeout=300)  # fmt: skip
    if "account is locked" in (folder / "sshd.log").read_text():
        pytest.skip(f"{getpass.getuser()} may not log in on this machine: the account is locked")
    return folder


@contextmanager
def sshd(
    keys: Path, port: int, *, settings: str = "", log: str = "sshd.log",
    address: str = "127.0.0.1", inside: tuple[str, ...] = (),
) -> Iterator[psutil.Process]:  # fmt: skip
    """The server, as long as the `with` lasts. settings: more lines for its configuration.
    inside: what runs it in another network."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # as root sshd wants it; a service would make it
    config = keys / f"sshd_config-{port}"
    config.write_text(
        f"ListenAddress {address}\nPort {port}\nHostKey {keys}/host_key\nUsePAM no\n"
        f"AuthorizedKeysFile {keys}/authorized_keys\nStrictModes no\nPidFile none\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        f"AllowTcpForwarding local\n{_without_penalties()}{settings}\n",
        encoding="utf-8",
    )
    host_key = " ".join((keys / "host_key.pub").read_text().split()[:2])
    with (keys / "known_hosts").open("a") as file:
        file.write(f"[{address}]:{port} {host_key}\n")
    before = (keys / log).stat().st_size if (keys / log).exists() else 0
    with (keys / log).open("ab") as said:
        words = [*inside, str(SSHD), "-D", "-e", "-f", str(config)]
        child = subprocess.Popen(words, stderr=said)
    process = psutil.Process(child.pid)
    try:
        listens = f"Server listening on {address} port {port}".encode()
        wait_until(
            lambda: child.poll() is not None or listens in (keys / log).read_bytes()[before:], 180
        )
        assert child.poll() is None, (keys / log).read_text()
        yield process
    finally:
        family = [process, *process.children(recursive=True)] if process.is_running() else []
        end_all(family)
        child.wait()


def target(
    keys: Path, port: int, *, jump: str = "", address: str = "127.0.0.1"
) -> SshTarget:
    settings = (f"UserKnownHostsFile={keys}/known_hosts", "IdentitiesOnly=yes")
    return SshTarget(address, getpass.getuser(), port, str(keys / "user_key"), jump,
                     settings=settings)  # fmt: skip
