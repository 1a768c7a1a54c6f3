"""A real Caddy in front of a real server, in place of nginx (tests/test_remote.py)."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from pathlib import Path

import pytest
import requests
from processes import cli, wait_until
from proxies import KEY, assert_every_path_needs_the_key, run_until_ctrl_c

from rerank_kit import Reranker, Server, errors, machine
from rerank_kit.remote.proxy import CADDY, Proxy, ProxySettings, proxy_config

OTHER_KEY = "another-Key_of-letters"
needs_caddy = pytest.mark.skipif(
    shutil.which(CADDY) is None, reason="caddy is not installed (apt-get install caddy)"
)


def settings_for(upstream_url: str, **changes: object) -> ProxySettings:
    values: dict[str, object] = {
        "listen": f"127.0.0.1:{machine.free_port()}", "upstream_url": upstream_url,
        "keys": (KEY, OTHER_KEY), "program": CADDY,
    }  # fmt: skip
    return ProxySettings(**(values | changes))  # type: ignore[arg-type]


@needs_caddy
@pytest.mark.full
def test_every_path_behind_caddy_needs_the_key(server: Server, tmp_path: Path) -> None:
    settings = settings_for(server.url)
    with Proxy(settings, tmp_path) as proxy:
        root = f"http://{settings.listen}"
        assert_every_path_needs_the_key(server, root)
        strange = {"Host": "elsewhere.example"}
        assert requests.get(f"{root}/metrics", headers=strange, timeout=30).status_code == 401
        direct = server.reranker().score([("a", "b"), ("a", "c")])
        for key in (KEY, OTHER_KEY):
            through = Reranker(root, api_key=key).score([("a", "b"), ("a", "c")])
            assert through == pytest.approx(direct, abs=1e-5)
        large = requests.post(f"{root}/v1/rerank", data=b"x" * (33 * 2**20), timeout=60,
                              headers={"Authorization": f"Bearer {KEY}"})  # fmt: skip
        assert large.status_code in (413, 502)  # Caddy 2.6 notices it on the way only
        assert (tmp_path / "Caddyfile").stat().st_mode & 0o077 == 0
    assert not proxy.is_running and machine.port_is_free(settings.address[1])
    assert KEY not in (tmp_path / "said.log").read_text()


@needs_caddy
@pytest.mark.full
def test_caddy_makes_its_own_certificate(server: Server, tmp_path: Path) -> None:
    settings = settings_for(server.url, name="127.0.0.1", tls_internal=True)
    with Proxy(settings, tmp_path):
        root = tmp_path / "data" / "pki" / "authorities" / "local" / "root.crt"
        wait_until(root.is_file, 180)
        ask = {"headers": {"Authorization": f"Bearer {KEY}"}, "timeout": 30}
        url = f"https://{settings.listen}/v1/models"
        with pytest.raises(requests.exceptions.SSLError):  # nobody knows it
            requests.get(url, **ask)  # type: ignore[arg-type]
        assert requests.get(url, verify=str(root), **ask).status_code == 200  # type: ignore[arg-type]
        assert requests.get(url, verify=str(root), timeout=30).status_code == 401


@needs_caddy
@pytest.mark.full
def test_caddy_says_when_the_server_is_away_or_has_enough_to_do(tmp_path: Path) -> None:
    good = {"Authorization": f"Bearer {KEY}"}
    away = settings_for(f"http://127.0.0.1:{machine.free_port()}")
    with Proxy(away, tmp_path / "away"):
        answer = requests.get(f"http://{away.listen}/health", headers=good, timeout=30)
        assert answer.status_code == 502 and "does not run" in answer.text
    with socket.create_server(("127.0.0.1", 0)) as stalled:  # accepts, and never answers
        upstream = f"http://127.0.0.1:{stalled.getsockname()[1]}"
        busy = settings_for(upstream, concurrent_requests=1, timeout_seconds=20)
        with Proxy(busy, tmp_path / "busy"):
            ask = {"url": f"http://{busy.listen}/health", "headers": good, "timeout": 60}
            first = threading.Thread(target=requests.get, kwargs=ask, daemon=True)
            first.start()
            line, _ = stalled.accept()  # the first has arrived
            with line:
                second = requests.get(**ask)  # type: ignore[arg-type]
            assert second.status_code == 429 and second.headers["Retry-After"] == "1"
            first.join(60)


@needs_caddy
@pytest.mark.full
def test_the_command_runs_caddy_until_ctrl_c(server: Server, tmp_path: Path) -> None:
    assert run_until_ctrl_c(server, tmp_path, "--caddy")["program"] == "caddy"


@pytest.mark.parametrize(
    "changes",
    [{"listen": "0.0.0.0:8443"}, {"tls_internal": True}, {"name": "no name"},
     {"name": "x {", "tls_internal": True}, {"program": "nginx", "name": "example.org"},
     {"concurrent_requests": 0}, {"keys": ("short",)}],
)  # fmt: skip
def test_an_unsafe_caddy_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(errors.InputError):
        proxy_config(settings_for("http://127.0.0.1:8000", **changes))


def test_a_domain_gets_a_certificate_and_a_key_on_every_path(tmp_path: Path) -> None:
    words = ["proxy", "--caddy", "--listen", "0.0.0.0:443", "--name", "rank.example.org",
             "--folder", str(tmp_path), "--json"]  # fmt: skip
    told = json.loads(cli(*words).stdout)
    assert told["tls"] is True and told["command"].startswith("caddy run --config ")
    text = (tmp_path / "Caddyfile").read_text()
    assert "\nhttps://rank.example.org:443 {" in text and "tls internal" not in text
    assert "disable_redirects" not in text and "@" not in text.replace("@known", "").replace(
        "@busy", "").replace("@large", "")  # fmt: skip
