"""The second way from outside: an address and a key, through a reverse proxy that asks for the
key on every path. (The first is a tunnel, which opens nothing.)

vLLM's own --api-key leaves many paths open. The proxy is nginx or Caddy from the system's packages;
this module writes its configuration (templates/nginx.conf, templates/Caddyfile) and runs it without
root.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from rerank_kit import machine
from rerank_kit.client.transport import normalise_url
from rerank_kit.errors import InputError, PortInUseError, SetupError, cannot_write

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
NGINX, CADDY = "nginx", "caddy"
CONFIG_NAMES = {NGINX: "nginx.conf", CADDY: "Caddyfile"}
KEY_NAME = "key"
START_SECONDS, END_SECONDS = 60.0, 10.0
_KEY = re.compile(r"[A-Za-z0-9_-]{16,}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_FILE = re.compile(r"[^\s\"';{}$\\]+")


@dataclass(frozen=True)
class ProxySettings:
    """listen: address:port. keys: any of them lets in. certificate, certificate_key: PEM files;
    without them the proxy speaks plain HTTP. tls_elsewhere: something in front speaks TLS (the
    provider's own address does). name: the domain or address that clients use; Caddy fetches a
    certificate for it, or with tls_internal makes one of its own, whose root clients must be given.
    """

    listen: str
    upstream_url: str
    keys: tuple[str, ...]
    certificate: str = ""
    certificate_key: str = ""
    tls_elsewhere: bool = False
    requests_per_second: int = 20
    burst: int = 40
    body_mib: int = 32
    timeout_seconds: int = 300
    program: str = NGINX
    name: str = ""
    tls_internal: bool = False
    concurrent_requests: int = 64

    def __post_init__(self) -> None:
        for name in ("requests_per_second", "burst", "body_mib", "timeout_seconds",
                     "concurrent_requests"):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1.")
        if self.program != CADDY and (self.name or self.tls_internal):
            raise InputError("Only Caddy makes or fetches certificates.", hint="add --caddy")
        if self.name and not _NAME.fullmatch(self.name):
            raise InputError(f"{self.name!r} is no domain and no address.")
        if self.tls_internal and not self.name:
            raise InputError("A certificate needs a name.", hint="--name, as clients say it")
        if not self.keys or not all(_KEY.fullmatch(key) for key in self.keys):
            raise InputError(
                "A key must have at least 16 of the characters A-Z a-z 0-9 _ -.",
                hint="leave RERANK_API_KEY unset: a good one is made",
            )
        if bool(self.certificate) != bool(self.certificate_key):
            raise InputError("TLS needs both: a certificate and its key.")
        for file in (self.certificate, self.certificate_key):
            if file and not (_FILE.fullmatch(file) and Path(file).is_file()):
                raise InputError(f"{file} is no file that nginx can be told of.")
        host, _ = self.address
        if not (host.is_loopback or self.speaks_tls or self.tls_elsewhere):
            raise InputError(
                f"On {host} without TLS, everybody on the way could read the key.",
                hint="--certificate and --certificate-key, or --tls-elsewhere where the "
                "provider's address speaks TLS; best of all: rerank-kit tunnel",
            )

    @property
    def speaks_tls(self) -> bool:
        return bool(self.certificate or self.name)

    @property
    def address(self) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
        host, _, port = self.listen.rpartition(":")
        try:
            number = int(port)
            if not 0 < number < 65536:
                raise ValueError(port)
            return ipaddress.ip_address(host.strip("[]")), number
        except ValueError:
            raise InputError(
                f"{self.listen!r} is no address to listen on.", hint="e.g. 0.0.0.0:8443"
            ) from None


def proxy_config(settings: ProxySettings, folder: Path = Path()) -> str:
    """The whole configuration of nginx or Caddy. It holds the keys. folder: for Caddy's files."""
    upstream = urlsplit(normalise_url(settings.upstream_url))
    if upstream.scheme != "http" or upstream.path:
        raise InputError("The server behind the proxy needs an address like http://127.0.0.1:8000.")
    values = {
        "BODY": str(settings.body_mib),
        "TIMEOUT": str(settings.timeout_seconds),
        "UPSTREAM": upstream.netloc if upstream.port else f"{upstream.netloc}:80",
    }
    own = _for_caddy(settings, folder) if settings.program == CADDY else _for_nginx(settings)
    text = (TEMPLATES / CONFIG_NAMES[settings.program]).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda found: (values | own)[found[1]], text)


def _for_nginx(settings: ProxySettings) -> dict[str, str]:
    tls = "        # no TLS: on loopback, or something in front of it speaks TLS"
    if settings.certificate:
        certificate = Path(settings.certificate).resolve()
        key = Path(settings.certificate_key).resolve()
        tls = (
            f"        ssl_certificate {certificate};\n"
            f"        ssl_certificate_key {key};\n"
            "        ssl_protocols TLSv1.2 TLSv1.3;"
        )
    return {
        # A regular expression, because nginx compares plain words without regard to case.
        "KEYS": "\n".join(f'        "~^Bearer {key}$" 1;' for key in settings.keys),
        "RATE": str(settings.requests_per_second),
        "BURST": str(settings.burst),
        "LISTEN": settings.listen + (" ssl" if settings.certificate else ""),
        "TLS": tls,
    }


def _for_caddy(settings: ProxySettings, folder: Path) -> dict[str, str]:
    host, port = settings.address
    tls, site = "    # no TLS: on loopback, or something in front of it speaks TLS", f"http://:{port}"
    options = "    auto_https disable_redirects"  # port 80 is not ours
    if settings.certificate:
        files = [Path(one).resolve() for one in (settings.certificate, settings.certificate_key)]
        tls, site = f"    tls {files[0]} {files[1]}", f"https://:{port}"
        options = "    auto_https off"
    elif settings.name:
        site = f"https://{settings.name}:{port}"
        options += f"\n    default_sni {settings.name}"  # clients name no bare address
        tls = "    tls internal" if settings.tls_internal else "    # a certificate is fetched"
    if settings.name and not settings.tls_internal and port == 443:
        options = f"    default_sni {settings.name}"
    return {
        "KEYS": "\n".join(f'        header Authorization "Bearer {k}"' for k in settings.keys),
        "CONCURRENT": str(settings.concurrent_requests),
        "SITE": site,
        "BIND": str(host),
        "TLS": tls,
        "GLOBAL": options,
        "FOLDER": str(folder),
    }


def key_for(folder: Path) -> tuple[str, Path | None]:
    """(key, the file it is in): RERANK_API_KEY, else the one kept in the folder, else a new one."""
    given = os.environ.get("RERANK_API_KEY", "")
    if given:
        return given, None
    path = folder / KEY_NAME
    if path.is_file():
        return path.read_text(encoding="ascii").strip(), path
    key = secrets.token_hex(24)  # no hyphen: vLLM's --api-key takes -abc for an option
    _write_secret(path, f"{key}\n")
    return key, path


def write_config(settings: ProxySettings, folder: Path) -> Path:
    """Write the configuration, readable for its owner alone."""
    path = folder / CONFIG_NAMES[settings.program]
    _write_secret(path, proxy_config(settings, folder.resolve()))
    return path


def run_command(settings: ProxySettings, folder: Path, program: str = "") -> list[str]:
    """What runs the proxy with the configuration of the folder."""
    path = folder / CONFIG_NAMES[settings.program]
    if settings.program == CADDY:
        return [program or CADDY, "run", "--config", str(path), "--adapter", "caddyfile"]
    return [program or NGINX, "-p", f"{folder}/", "-c", str(path), "-e", "error.log"]


class Proxy:
    """nginx or Caddy with the configuration of a folder, as long as the `with` lasts."""

    def __init__(self, settings: ProxySettings, folder: Path) -> None:
        name = settings.program
        found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
        if found is None:
            raise SetupError(f"{name} is not installed.", hint=f"apt-get install {name}")
        host, port = settings.address
        if not machine.port_is_free(port, str(host)):
            raise PortInUseError(f"Port {port} is taken.", hint="another --listen")
        write_config(settings, folder)
        self.command = run_command(settings, folder, found)
        self.folder = folder
        self._name = name
        with (folder / "said.log").open("wb") as said:
            self._child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True, cwd=folder,
                # Caddy writes to the user's own folders else.
                env=os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
            )  # fmt: skip
        try:
            self._wait_until_it_listens(str(host), port)
        except BaseException:  # Ctrl-C as well: nginx must not stay behind
            self.close()
            raise

    def _wait_until_it_listens(self, host: str, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while machine.port_is_free(port, host):
            if self._child.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "said.log").read_text(encoding="utf-8", errors="replace")
                raise SetupError(f"{self._name} did not start.", evidence=said.strip()[-300:])
            time.sleep(0.05)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    def close(self) -> None:
        """End it and its workers; a second call is harmless."""
        self._child.terminate()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def _write_secret(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, path)
    except OSError as error:
        raise cannot_write(path, error) from None
