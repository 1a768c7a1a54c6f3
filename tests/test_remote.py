"""The way to a server on another machine: pasted logins, a tunnel through a real sshd, a real
nginx. All of it on this machine, without root and without a system service."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import requests
from login_server import needs_sshd, sshd, target
from processes import cli, free_ports, wait_until
from proxies import KEY, assert_every_path_needs_the_key, run_until_ctrl_c, scores

from rerank_kit import Reranker, Server, errors, machine
from rerank_kit.money.providers import providers
from rerank_kit.remote import SshTarget, Tunnel, proxy_config, read_ssh_command, tunnel_command
from rerank_kit.remote.proxy import Proxy, ProxySettings
from rerank_kit.remote.rented import model_cache, rented_findings, rented_machines

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
needs_nginx = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed (apt-get install nginx)"
)


# --- what a person pastes


@pytest.mark.parametrize(
    ("pasted", "target"),
    [
        ("root@host.example", SshTarget("host.example", "root")),
        ("ssh -p 38076 root@connect.westb.example.com",  # AutoDL's form
         SshTarget("connect.westb.example.com", "root", 38076)),
        ("ssh root@194.68.245.12 -p 22101 -i ~/.ssh/id_ed25519",  # RunPod's, over TCP
         SshTarget("194.68.245.12", "root", 22101, "~/.ssh/id_ed25519")),
        ("ssh -p 20544 root@ssh5.example.ai -L 8080:localhost:8080",  # Vast.ai's
         SshTarget("ssh5.example.ai", "root", 20544)),
        ("ssh ubuntu@10.0.0.1", SshTarget("10.0.0.1", "ubuntu")),  # Lambda's
        ("ssh -i key.pem -o Port=23 -l ec2-user -NTf host uname -a",
         SshTarget("host", "ec2-user", 23, "key.pem")),
        ("ssh://me@host:2222", SshTarget("host", "me", 2222)),
        ("me@host:2222", SshTarget("host", "me", 2222)),
        ("ssh -J jump@gate:2200 me@inner", SshTarget("inner", "me", 22, "", "jump@gate:2200")),
        (["ssh", "-p22", "me@::1"], SshTarget("::1", "me")),
    ],
)  # fmt: skip
def test_logins_are_understood(pasted: str | list[str], target: SshTarget) -> None:
    assert read_ssh_command(pasted) == target


@pytest.mark.parametrize(
    "pasted",
    ["", "ssh", "ssh -p 22", "ssh -p x root@host", "ssh 'root@ho st'", "ssh root@host -i",
     "ssh -o ProxyCommand=touch\\ /tmp/x root@host", "ssh -oLocalCommand=id root@host",
     "root@-oProxyCommand=id", "-l -oProxyCommand=id host", "ssh -J -oProxyCommand=id me@host",
     "ssh -F other root@host", "ssh 'root@host", "root@host:99999",
     "ssh -o StrictHostKeyChecking=no root@host"],
)  # fmt: skip
def test_what_is_no_login_or_would_run_programs_is_refused(pasted: str) -> None:
    with pytest.raises(errors.InputError):
        read_ssh_command(pasted)


def test_the_command_forwards_on_the_loopback_address_only() -> None:
    words = tunnel_command(SshTarget("host", "me", 23), 8001, 8000)
    assert words[words.index("-L") + 1] == "127.0.0.1:8001:127.0.0.1:8000"
    assert "ExitOnForwardFailure=yes" in words and words[-3:] == ["-p", "23", "me@host"]
    pasted = ("ssh", "-p", "23", "me@host")
    printed = cli("tunnel", "--print", "--json", "--port", "8123", "--", *pasted)
    made = json.loads(printed.stdout)
    assert made["url"] == "http://127.0.0.1:8123" and made["command"].endswith("-p 23 me@host")


# --- a real sshd


@needs_sshd
def test_a_ranking_through_a_tunnel_is_the_same_and_nothing_stays(
    server: Server, keys: Path
) -> None:
    assert server.record is not None
    port = machine.free_port()
    documents = ["The train leaves at noon.", "Water a cactus every two weeks."]
    direct = server.reranker().rank("How do I water a cactus?", documents)
    with sshd(keys, port), Tunnel(target(keys, port), remote_port=server.record.port) as tunnel:
        assert tunnel.url != server.url and tunnel.is_open
        through = Reranker(tunnel.url).rank("How do I water a cactus?", documents)
        pid = tunnel.pid
    assert [one.text for one in through] == [one.text for one in direct]
    assert [one.score for one in through] == pytest.approx([one.score for one in direct], abs=1e-5)
    assert pid is not None and not psutil.pid_exists(pid)
    assert machine.port_is_free(tunnel.local_port)


@needs_sshd
def test_a_broken_line_is_opened_again(server: Server, keys: Path) -> None:
    assert server.record is not None
    port, said = machine.free_port(), []
    with sshd(keys, port), Tunnel(target(keys, port), remote_port=server.record.port) as tunnel:
        keeper = threading.Thread(
            target=_keep_quietly, args=(tunnel, said), daemon=True
        )
        keeper.start()
        first = tunnel.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: tunnel.times_reopened == 1 and tunnel.server_answers(), 180)
        assert tunnel.pid != first and machine.port_is_free(tunnel.local_port) is False
    # Now the other side is gone for good: it tries a few times, then says so.
    keeper.join(180)
    assert not keeper.is_alive() and isinstance(said[-1], errors.UnreachableError)
    assert not tunnel.is_open


def _keep_quietly(tunnel: Tunnel, said: list[object]) -> None:
    try:
        tunnel.keep_open(tries=2, say=said.append)
    except errors.UnreachableError as error:
        said.append(error)


@needs_sshd
def test_each_way_to_fail_says_which_it_is(server: Server, keys: Path, tmp_path: Path) -> None:
    assert server.record is not None
    port, nobody, local = free_ports(3)
    with sshd(keys, port):
        with pytest.raises(errors.UnreachableError, match="tunnel stands, but nothing answers"):
            Tunnel(target(keys, port), local_port=local, remote_port=nobody, answers_seconds=1)
        with pytest.raises(errors.PortInUseError):
            Tunnel(target(keys, port), local_port=server.record.port)
        (keys / "known_hosts").write_text("")  # a host that was never seen
        with pytest.raises(errors.UnreachableError, match="login") as failure:
            Tunnel(target(keys, port), remote_port=server.record.port)
        assert "verification failed" in failure.value.evidence
    with pytest.raises(errors.UnreachableError) as failure:
        Tunnel(target(keys, port), remote_port=server.record.port)
    assert "refused" in failure.value.evidence.lower()


@needs_sshd
def test_the_command_opens_a_tunnel_and_ends_with_ctrl_c(server: Server, keys: Path) -> None:
    assert server.record is not None
    port, local = free_ports(2)
    with sshd(keys, port):
        words = ["tunnel", "--port", str(local), "--remote-port", str(server.record.port), "--json",
                 "--", "ssh", *target(keys, port).words()]  # fmt: skip
        child = subprocess.Popen(
            [sys.executable, "-m", "rerank_kit", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert child.stderr is not None
            said = next((line for line in child.stderr if "Ctrl-C" in line), "it ended")
            assert "stop:" in said  # before that it only opens, and an interrupt is one
            assert scores(Reranker(f"http://127.0.0.1:{local}", retry_seconds=0))
            ssh = psutil.Process(child.pid).children()
            assert len(ssh) == 1 and ssh[0].name() == "ssh"
            child.send_signal(signal.SIGINT)
            out, _ = child.communicate(timeout=300)
        finally:
            child.kill()
            child.wait()
    assert child.returncode == 0 and json.loads(out)["state"] == "closed"
    assert not ssh[0].is_running() and machine.port_is_free(local)


@needs_sshd
def test_ctrl_c_at_the_very_moment_when_it_is_offered_closes_the_tunnel(
    server: Server, keys: Path
) -> None:
    """Between the line that says "stop: Ctrl-C" and the watch over the tunnel it counted as a
    failure."""
    assert server.record is not None
    code = (
        "import os, signal, sys\nfrom rerank_kit import cli\n"
        "from rerank_kit.commands import distance\n"
        "def interrupted(options, text, say=distance.say):\n"
        "    say(options, text)\n"
        "    if 'Ctrl-C' in text: os.kill(os.getpid(), signal.SIGINT)\n"
        "distance.say = interrupted\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    port = machine.free_port()
    with sshd(keys, port):
        words = ["tunnel", "--remote-port", str(server.record.port), "--json", "--", "ssh",
                 *target(keys, port).words()]  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True,
                              timeout=300)  # fmt: skip
    assert done.returncode == 0 and json.loads(done.stdout)["state"] == "closed", done.stderr


def test_a_command_without_an_open_stdin_works() -> None:
    words = [sys.executable, "-m", "rerank_kit", "tunnel", "--print", "me@host"]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *words], capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("ssh "), done.stderr


# --- a real nginx


def proxy_settings(server: Server, **changes: object) -> ProxySettings:
    values: dict[str, object] = {
        "listen": f"127.0.0.1:{machine.free_port()}", "upstream_url": server.url, "keys": (KEY,),
    }  # fmt: skip
    return ProxySettings(**(values | changes))  # type: ignore[arg-type]


@needs_nginx
def test_every_path_behind_the_proxy_needs_the_key(server: Server, tmp_path: Path) -> None:
    settings = proxy_settings(server, requests_per_second=500, burst=500)
    with Proxy(settings, tmp_path) as proxy:
        root = f"http://{settings.listen}"
        assert_every_path_needs_the_key(server, root)
        assert requests.get(f"{root}/_key", timeout=30).status_code == 404  # its own inner path
        with pytest.raises(errors.AuthError):
            Reranker(root, api_key="wrong-wrong-wrong").score([("a", "b")])
        through = Reranker(root, api_key=KEY).score([("a", "b"), ("a", "c")])
        assert through == pytest.approx(server.reranker().score([("a", "b"), ("a", "c")]), abs=1e-5)
        assert (tmp_path / "nginx.conf").stat().st_mode & 0o077 == 0
        workers = psutil.Process(proxy._child.pid).children(recursive=True)
    assert not any(worker.is_running() for worker in workers)
    assert machine.port_is_free(settings.address[1])
    assert KEY not in (tmp_path / "error.log").read_text()


@needs_nginx
def test_the_proxy_slows_down_and_says_when_the_server_is_away(tmp_path: Path) -> None:
    nobody, listen = (f"127.0.0.1:{port}" for port in free_ports(2))
    settings = ProxySettings(listen, f"http://{nobody}", (KEY,),
                             requests_per_second=1, burst=2)  # fmt: skip
    with Proxy(settings, tmp_path):
        ask = {"url": f"http://{settings.listen}/health", "timeout": 30}
        good = {"Authorization": f"Bearer {KEY}"}
        assert requests.get(**ask, headers=good).status_code == 502  # type: ignore[arg-type]
        codes = [requests.get(**ask).status_code for _ in range(20)]  # type: ignore[arg-type]
        assert set(codes) == {401, 429}  # guessing keys is slowed down too


@needs_nginx
def test_the_command_runs_the_proxy_until_ctrl_c(server: Server, tmp_path: Path) -> None:
    assert run_until_ctrl_c(server, tmp_path)["program"] == "nginx"


@needs_nginx
def test_an_interrupt_while_the_proxy_starts_leaves_no_nginx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([True])  # free for nginx; the next look is interrupted

    def look(port: int, host: str) -> bool:
        for free in looks:
            return free
        raise KeyboardInterrupt

    settings = ProxySettings(f"127.0.0.1:{machine.free_port()}", "http://127.0.0.1:9", (KEY,))
    monkeypatch.setattr(machine, "port_is_free", look)
    with pytest.raises(KeyboardInterrupt):
        Proxy(settings, tmp_path)
    left = [one for one in psutil.process_iter(["cmdline"])
            if str(tmp_path) in " ".join(one.info["cmdline"] or ())]  # fmt: skip
    assert left == []


def test_a_proxy_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "x")
    done = cli("proxy", "--upstream", "http://127.0.0.1:9", "--folder", folder, "--json")
    assert json.loads(done.stdout)["error"]["kind"] == "file", done.stderr


@needs_nginx
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_proxy_speaks_tls(server: Server, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
         tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = proxy_settings(server, certificate=str(tmp_path / "cert.pem"),
                              certificate_key=str(tmp_path / "key.pem"))  # fmt: skip
    with Proxy(settings, tmp_path / "proxy"):
        answer = requests.get(
            f"https://{settings.listen}/v1/models", headers={"Authorization": f"Bearer {KEY}"},
            verify=str(tmp_path / "cert.pem"), timeout=30,
        )  # fmt: skip
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "changes",
    [{"listen": "0.0.0.0:8443"}, {"listen": "8443"}, {"listen": "127.0.0.1:0"}, {"keys": ()},
     {"keys": ("short",)}, {"keys": ('quote"; } evil { "aaaaaaaa',)}, {"certificate": "x"},
     {"upstream_url": "https://elsewhere"}, {"requests_per_second": 0}],
)  # fmt: skip
def test_an_unsafe_proxy_is_refused(changes: dict[str, object]) -> None:
    values = {"listen": "127.0.0.1:8443", "upstream_url": "http://127.0.0.1:8000", "keys": (KEY,)}
    with pytest.raises(errors.InputError):
        proxy_config(ProxySettings(**(values | changes)))  # type: ignore[arg-type]


def test_the_command_keeps_its_key_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RERANK_API_KEY", raising=False)
    folder = tmp_path / "proxy"
    words = ("proxy", "--listen", "0.0.0.0:8443", "--folder", str(folder))
    assert cli(*words).returncode == 2  # the key would travel in the clear
    done = cli(*words, "--tls-elsewhere")
    key = (folder / "key").read_text().strip()
    assert done.returncode == 0 and len(key) > 30 and key not in done.stdout
    assert (folder / "key").stat().st_mode & 0o077 == 0
    assert f"Bearer {key}" in (folder / "nginx.conf").read_text()
    assert json.loads(cli(*words, "--tls-elsewhere", "--json").stdout)["tls"] is False
    assert (folder / "key").read_text().strip() == key  # the second time it is the same


# --- rented machines


def test_every_fact_about_a_rented_machine_has_a_source() -> None:
    assert set(rented_machines()) <= set(providers())
    for one in rented_machines().values():
        for name in ("keeps", "ssh", "ports", "network"):
            said, source = getattr(one, name), getattr(one, f"{name}_source")
            assert bool(said) == bool(source), (one.name, name)
            assert not said or "documentation" in source or "reported" in source
        assert read_ssh_command(one.ssh.replace("PORT", "1234")).port == 1234


def test_models_on_a_disk_that_is_cleared_are_a_finding(tmp_path: Path) -> None:
    pod = {"RUNPOD_POD_ID": "x", "HF_HOME": "/root/.cache/huggingface"}
    said = {one.id: one for one in rented_findings(pod)}
    assert said["rented_from"].status == "ok" and said["data_disk"].status == "fix"
    assert said["data_disk"].fix == "export HF_HOME=/workspace/huggingface"
    good = {one.id: one.status for one in rented_findings(pod | {"HF_HOME": "/workspace/hf"})}
    assert good == {"rented_from": "ok", "data_disk": "ok"}
    assert rented_findings({}, providers()["azure"])[0].detail.endswith("use the console")
    assert model_cache({"XDG_CACHE_HOME": "/x"}) == Path("/x/huggingface")
