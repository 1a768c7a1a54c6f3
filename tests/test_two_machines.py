"""The laptop in a network of its own (a network namespace), a cable (a veth pair) to the rented
machine, or to a jump host before it: only what is said to be reachable is. Real server, sshd and
nginx; needs root."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from login_server import needs_sshd, sshd, target
from proxies import KEY

from rerank_kit import Server, machine
from rerank_kit.remote import SshTarget
from rerank_kit.remote.proxy import Proxy, ProxySettings

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes networks"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip is missing (apt-get install "
                       "iproute2)"),
]  # fmt: skip


@dataclass(frozen=True)
class Laptop:
    """The other side. machine_address: the rented machine, as it is seen from there."""

    name: str
    machine_address: str

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, sys.executable, "-m", "rerank_kit", *words]

    def rank(self, url: str, **environment: str) -> dict[str, object]:
        """What `rerank-kit rank --json` says there."""
        words = self.command("rank", "--url", url, "--query", "cactus care", "--documents", "-",
                             "--json")  # fmt: skip
        done = subprocess.run(
            words, input="The train leaves at noon.\nWater a cactus.\n", capture_output=True,
            text=True, timeout=180, env=_plain() | environment,
        )  # fmt: skip
        found: dict[str, object] = json.loads(done.stdout)
        return found


def _plain() -> dict[str, str]:
    """No proxy of the machine, no key of the session."""
    taken = ("http_proxy", "https_proxy", "all_proxy", "rerank_api_key", "rerank_url")
    return {key: value for key, value in os.environ.items() if key.lower() not in taken}


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    name, number = f"laptop{os.getpid()}", os.getpid() % 250
    with network(name), cable("", name, 213) as ours:
        assert ours == f"10.213.{number}.1"
        yield Laptop(name, ours)


@contextmanager
def network(name: str) -> Iterator[None]:
    """A network of its own: nothing can be reached from there yet."""
    try:
        must(f"ip netns add {name}")
        must(f"ip -n {name} link set lo up")
        must(f"ip netns exec {name} true")
        yield
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


@contextmanager
def cable(one: str, other: str, subnet: int) -> Iterator[str]:
    """Between two networks ("" is the machine's own); the address of the first."""
    number = os.getpid() % 250
    here, there = f"rk{number}a{subnet}", f"rk{number}b{subnet}"
    ours, its = f"10.{subnet}.{number}.1", f"10.{subnet}.{number}.2"
    must(f"ip link add {here} type veth peer name {there}")
    try:
        for name, link, address in ((one, here, ours), (other, there, its)):
            inside = f"-n {name} " if name else ""
            if name:
                must(f"ip link set {link} netns {name}")
            must(f"ip {inside}addr add {address}/30 dev {link}")
            must(f"ip {inside}link set {link} up")
        yield ours
    finally:
        where = ["-n", one] if one else []
        subprocess.run(["ip", *where, "link", "del", here], capture_output=True)


def must(step: str) -> None:
    done = subprocess.run(step.split(), capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this machine lets nobody make networks: {done.stderr.strip()}")


def test_the_server_on_the_loopback_address_cannot_be_reached(
    laptop: Laptop, server: Server
) -> None:
    assert server.record is not None
    for host in (laptop.machine_address, "127.0.0.1"):
        told = laptop.rank(f"http://{host}:{server.record.port}")
        assert told["error"]["kind"] == "unreachable", told  # type: ignore[index]


@needs_sshd
def test_a_tunnel_reaches_it(laptop: Laptop, server: Server, keys: Path) -> None:
    assert server.record is not None
    port, address = machine.free_port(), laptop.machine_address
    with sshd(keys, port, address=address):
        url = rank_through_a_tunnel(laptop, server, target(keys, port, address=address))
    assert laptop.rank(url)["error"]["kind"] == "unreachable"  # type: ignore[index]


@needs_sshd
def test_a_jump_host_leads_to_a_machine_that_has_no_way_in(
    laptop: Laptop, server: Server, keys: Path
) -> None:
    """laptop - gate - machine: two cables, and nobody forwards packets from one to the other."""
    assert server.record is not None
    gate = f"gate{os.getpid()}"
    with network(gate), cable(gate, laptop.name, 214) as at_gate, cable("", gate, 215) as inner:
        port, gate_port = 2222, 2200
        behind = (sshd(keys, port, address=inner),
                  sshd(keys, gate_port, address=at_gate, inside=("ip", "netns", "exec", gate)))
        with behind[0], behind[1]:
            straight = target(keys, port, address=inner)
            failed = subprocess.run(
                laptop.command("tunnel", "--json", "--", "ssh", *straight.words()),
                capture_output=True, text=True, timeout=180, env=_plain(),
            )  # fmt: skip
            said = json.loads(failed.stdout)["error"]
            assert said["kind"] == "unreachable" and "unreachable" in said["evidence"].lower()
            over = f"{getpass.getuser()}@{at_gate}:{gate_port}"
            rank_through_a_tunnel(laptop, server, straight, "--jump", over)


def rank_through_a_tunnel(laptop: Laptop, server: Server, login: SshTarget, *more: str) -> str:
    """Open a tunnel there, rank through it, end it with Ctrl-C; the address it had."""
    assert server.record is not None
    words = ["tunnel", "--remote-port", str(server.record.port), "--json", *more, "--", "ssh",
             *login.words()]  # fmt: skip
    child = subprocess.Popen(laptop.command(*words), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=_plain())  # fmt: skip
    try:
        assert child.stderr is not None and child.stdout is not None
        said = ""
        for line in child.stderr:
            said += line
            if "RERANK_URL=" in line:
                break
        url = said.strip().rpartition("RERANK_URL=")[2]
        assert url.startswith("http://127.0.0.1:"), said + child.stdout.read()
        assert scores(laptop.rank(url)) == pytest.approx(expected(server), abs=1e-5)
        child.send_signal(signal.SIGINT)
        assert child.wait(180) == 0
    finally:
        child.kill()
        child.wait()
    return url


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (apt-get install nginx)")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_proxy_lets_in_who_has_the_key(laptop: Laptop, server: Server, tmp_path: Path) -> None:
    address, port = laptop.machine_address, machine.free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         f"/CN={address}", "-addext", f"subjectAltName=IP:{address}", "-keyout",
         tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = ProxySettings(
        f"{address}:{port}", server.url, (KEY,), str(tmp_path / "cert.pem"),
        str(tmp_path / "key.pem"),
    )  # fmt: skip
    url, trusted = f"https://{address}:{port}", {"REQUESTS_CA_BUNDLE": str(tmp_path / "cert.pem")}
    with Proxy(settings, tmp_path / "proxy"):
        assert laptop.rank(url, **trusted)["error"]["kind"] == "auth"  # type: ignore[index]
        wrong = laptop.rank(url, **trusted, RERANK_API_KEY=f"{KEY}x")
        assert wrong["error"]["kind"] == "auth"  # type: ignore[index]
        through = laptop.rank(url, **trusted, RERANK_API_KEY=KEY)
        assert scores(through) == pytest.approx(expected(server), abs=1e-5)
        words = laptop.command("doctor", "--url", url, "--json")
        told = subprocess.run(words, capture_output=True, text=True, timeout=180,
                              env=_plain() | trusted | {"RERANK_API_KEY": KEY})  # fmt: skip
        found = {one["id"]: one for one in json.loads(told.stdout)["findings"]}
        assert found["access"]["status"] == "ok", found["access"]
        plain = laptop.rank(f"http://{address}:{server.record.port}")  # type: ignore[union-attr]
        assert plain["error"]["kind"] == "unreachable"  # type: ignore[index]


def scores(told: dict[str, object]) -> list[float]:
    assert "results" in told, told
    return [one["score"] for one in told["results"]]  # type: ignore[attr-defined]


def expected(server: Server) -> list[float]:
    ranking = server.reranker().rank("cactus care", ["The train leaves at noon.",
                                                     "Water a cactus."])  # fmt: skip
    return [one.score for one in ranking]
