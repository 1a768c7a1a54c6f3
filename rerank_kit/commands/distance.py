"""tunnel and proxy: the two ways from another machine to the server."""

from __future__ import annotations

import shlex
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rerank_kit.commands.login import login_options, may_ask, target_of
from rerank_kit.commands.result import AddCommand, Result, port_number, positive, say


def add(command: AddCommand) -> None:
    _tunnel_options(command("tunnel", tunnel, "an SSH tunnel to the server on a rented machine"))
    _proxy_options(command("proxy", proxy, "a reverse proxy that asks for a key on every path"))


def tunnel(options: Namespace) -> Result:
    from rerank_kit import machine
    from rerank_kit.remote import Tunnel, tunnel_command

    target = target_of(options, options.vllm_flags or options.login or "")
    if options.print:
        local = options.port or machine.free_port(options.remote_port)
        words = shlex.join(tunnel_command(target, local, options.remote_port))
        url = f"http://127.0.0.1:{local}"
        text = f"{words}\nexport RERANK_URL={url}"
        return Result(True, text, {"command": words, "local_port": local, "url": url})
    say(options, f"opening a tunnel to {target.login} ...")
    opened = Tunnel(
        target, local_port=options.port, remote_port=options.remote_port,
        ask=may_ask(options),
    )  # fmt: skip
    with opened:
        try:  # from the moment on when Ctrl-C is offered
            say(options, f"open:  {opened.url} is port {options.remote_port} of {target.host}\n"
                         f"use:   export RERANK_URL={opened.url}\n"
                         "stop:  Ctrl-C")  # fmt: skip
            opened.keep_open(options.tries, lambda text: say(options, text))
        except KeyboardInterrupt:
            pass
    times = opened.times_reopened
    data = {"url": opened.url, "state": "closed", "times_reopened": times}
    return Result(True, f"closed; it was opened again {times} times", data)


def proxy(options: Namespace) -> Result:
    from rerank_kit import registry
    from rerank_kit.remote.proxy import (
        CADDY,
        NGINX,
        Proxy,
        ProxySettings,
        key_for,
        run_command,
        write_config,
    )

    folder = Path(options.folder or registry.state_dir() / "proxy").resolve()
    running = registry.living()
    upstream = options.upstream or (running[-1].url if running else "http://127.0.0.1:8000")
    key, key_file = key_for(folder)
    settings = ProxySettings(
        options.listen, upstream, (key,), options.certificate or "",
        options.certificate_key or "", options.tls_elsewhere, options.requests_per_second,
        2 * options.requests_per_second, program=CADDY if options.caddy else NGINX,
        name=options.name or "", tls_internal=options.tls_internal,
    )  # fmt: skip
    path = write_config(settings, folder)
    words = shlex.join(run_command(settings, folder))
    limit = f"{options.requests_per_second} requests a second from one address"
    if options.caddy:
        limit = f"{settings.concurrent_requests} requests at a time (Caddy counts none per second)"
    where = f"the file {key_file}" if key_file else "RERANK_API_KEY"
    lines = [
        f"before:  {upstream}",
        f"listens: {'https' if settings.speaks_tls else 'http'}://{options.listen}",
        f"key:     in {where}; every path asks for it",
        f"limit:   {limit}",
        f"run:     {words}",
        "check:   rerank-kit doctor --url ADDRESS, from the other machine",
    ]
    if options.tls_internal:
        root = folder / "data" / "pki" / "authorities" / "local" / "root.crt"
        lines.append(f"clients: REQUESTS_CA_BUNDLE=root.crt, a copy of {root}")
    data = {
        "config": str(path), "key_file": str(key_file) if key_file else None, "command": words,
        "upstream": upstream, "listen": options.listen, "tls": settings.speaks_tls,
        "program": settings.program,
    }  # fmt: skip
    if not options.run_now:
        return Result(True, "\n".join(lines), data)
    try:
        with Proxy(settings, folder) as running_proxy:
            say(options, "\n".join([*lines, "stop:    Ctrl-C"]))
            while running_proxy.is_running:
                time.sleep(0.5)
    except KeyboardInterrupt:  # at any moment, also while nginx starts
        return Result(True, "the proxy has ended", data)
    log = folder / ("said.log" if options.caddy else "error.log")
    return Result(False, f"{settings.program} ended by itself: read {log}", data)


def _tunnel_options(parser: ArgumentParser) -> None:
    parser.epilog = (
        "The login is user@host, or the whole line that the provider shows: in quotes, or behind "
        '--, e.g. rerank-kit tunnel "ssh -p 12345 root@host", rerank-kit tunnel -- ssh -p 12345 '
        "root@host. Nothing is opened on the other machine but what ssh opens already."
    )
    parser.add_argument("login", nargs="?", help="user@host, or a whole ssh line in quotes")
    parser.add_argument("--port", type=port_number, help="here (default: the same, or a free one)")
    parser.add_argument("--remote-port", type=port_number, default=8000, metavar="N",
                        help="of the server over there (default 8000)")  # fmt: skip
    login_options(parser)
    parser.add_argument("--tries", type=positive, default=10, metavar="N",
                        help="how often in a row it is opened again (default 10)")  # fmt: skip
    parser.add_argument("--print", action="store_true", help="only print the ssh command")


def _proxy_options(parser: ArgumentParser) -> None:
    parser.epilog = (
        "Writes a configuration for nginx or Caddy (apt-get install nginx, or caddy) and a key, "
        "both readable for you alone. A tunnel opens nothing and needs no key: prefer it where "
        "you can."
    )
    parser.add_argument("--upstream", metavar="URL", help="the server (default: the one of ours)")
    parser.add_argument("--listen", default="127.0.0.1:8443", metavar="ADDRESS:PORT",
                        help="default 127.0.0.1:8443; 0.0.0.0:8443 is everybody")  # fmt: skip
    parser.add_argument("--certificate", metavar="FILE", help="TLS: the certificate (PEM)")
    parser.add_argument("--certificate-key", metavar="FILE", help="TLS: its key (PEM)")
    parser.add_argument("--tls-elsewhere", action="store_true",
                        help="the provider's address in front of it speaks TLS")  # fmt: skip
    parser.add_argument("--caddy", action="store_true", help="for Caddy instead of nginx")
    parser.add_argument("--name", metavar="DOMAIN",
                        help="with --caddy: fetch a certificate for this domain")  # fmt: skip
    parser.add_argument("--tls-internal", action="store_true",
                        help="with --caddy and --name: a certificate of its own")  # fmt: skip
    parser.add_argument("--requests-per-second", type=positive, default=20, metavar="N",
                        help="from one address (default 20)")  # fmt: skip
    parser.add_argument("--folder", metavar="DIR", help="where its files go")
    parser.add_argument(
        "--run", dest="run_now", action="store_true", help="run it until Ctrl-C"
    )
