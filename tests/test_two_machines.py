"""The laptop in a network of its own (a network namespace), a cable (a veth pair) to the rented
machine: only what is said to be reachable is. Real server, sshd and nginx; needs root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from login_server import needs_sshd, sshd, target

from rerank_kit import Server, machine
from rerank_kit.remote.proxy import Proxy, ProxySettings

KEY = "a-Key_of-twenty-letters"
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
    number = os.getpid() % 250
    name, here, there = f"laptop{os.getpid()}", f"rk{number}here", f"rk{number}there"
    ours, its = f"10.213.{number}.1", f"10.213.{number}.2"
    steps = (
        f"ip netns add {name}",
        f"ip link add {here} type veth peer name {there}",
        f"ip link set {there} netns {name}",
        f"ip addr add {ours}/30 dev {here}",
        f"ip link set {here} up",
        f"ip -n {name} addr add {its}/30 dev {there}",
        f"ip -n {name} link set {there} up",
        f"ip -n {name} link set lo up",
    )
    try:
        for step in steps:
            done = subprocess.run(step.split(), capture_output=True, text=True)
            if done.returncode != 0:
                pytest.skip(f"this machine lets nobody make networks: {done.stderr.strip()}")
        inside = subprocess.run(["ip", "netns", "exec", name, "true"], capture_output=True)
        if inside.returncode != 0:
            pytest.skip("this machine lets nobody enter a network of its own")
        yield Laptop(name, ours)
    finally:
        for step in (f"ip link del {here}", f"ip netns del {name}"):
            with suppress(OSError):
                subprocess.run(step.split(), capture_output=True)


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
    login = ["--", "ssh", *target(keys, port, address=address).words()]
    words = ["tunnel", "--remote-port", str(server.record.port), "--json", *login]
    with sshd(keys, port, address=address):
        child = subprocess.Popen(laptop.command(*words), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, env=_plain())  # fmt: skip
        try:
            assert child.stderr is not None
            said = ""
            for line in child.stderr:
                said += line
                if "RERANK_URL=" in line:
                    break
            url = said.strip().rpartition("RERANK_URL=")[2]
            assert url.startswith("http://127.0.0.1:"), said
            assert scores(laptop.rank(url)) == pytest.approx(expected(server), abs=1e-5)
            child.send_signal(signal.SIGINT)
            assert child.wait(60) == 0
        finally:
            child.kill()
            child.wait()
    assert laptop.rank(url)["error"]["kind"] == "unreachable"  # type: ignore[index]


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
