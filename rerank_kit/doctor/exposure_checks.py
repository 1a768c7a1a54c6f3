"""Who can reach the server, and what does it answer without the key?"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from rerank_kit.client.transport import Transport
from rerank_kit.doctor.findings import Finding
from rerank_kit.errors import AuthError, RequestError, UnreachableError, WrongServerError
from rerank_kit.machine.host import listeners

#: vLLM's --api-key guards /v1 and /v2 only; these were seen to answer without it (0.32.0).
_GUARDED = ("/v1/models", "/v1/rerank", "/v1/score", "/v2/rerank")
_UNGUARDED_POST = ("/rerank", "/score", "/tokenize", "/classify", "/pooling", "/invocations")
_UNGUARDED_GET = ("/metrics",)
_LOOPBACK = "--host 127.0.0.1, and an SSH tunnel for other machines (notebook 10)"
_PROXY = "--host 127.0.0.1 behind a proxy that asks for the key on every path, or an SSH tunnel"


@dataclass(frozen=True)
class Place:
    """side: here (this machine, seen in its socket table), tunnel, hidden (this machine, but the
    table does not show it) or elsewhere. open: other machines can reach it."""

    side: str
    open: bool
    port: int


def findings(url: str, timeout_seconds: float) -> list[Finding]:
    place = locate(url)
    return [_address(place, url), _access(url, place, timeout_seconds)]


def locate(url: str) -> Place:
    """Where the listener of this address is, as far as this machine can tell."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not _is_this_machine(parts.hostname or ""):
        return Place("elsewhere", True, port)
    for one in listeners((port,)):
        if one.pid is None and not one.command:
            break
        if one.command in ("ssh", "autossh", "sshd", "kubectl", "cloudflared"):
            return Place("tunnel", one.open, port)
        return Place("here", one.open, port)
    return Place("hidden", False, port)


def _is_this_machine(host: str) -> bool:
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    own = {address.address for card in psutil.net_if_addrs().values() for address in card}
    return any(ipaddress.ip_address(one.split("%")[0]).is_loopback or one in own for one in found)


def _address(place: Place, url: str) -> Finding:
    if place.side == "here" and not place.open:
        return Finding(
            "address", "ok", "bound to 127.0.0.1 only (seen in this machine's socket table)"
        )
    if place.side == "here":
        return Finding(
            "address", "fix",
            "it listens on every address of this machine: other machines can reach it",
            "none for the order; anybody on the network can use the GPU you pay for",
            _LOOPBACK,
        )  # fmt: skip
    words = {
        "tunnel": "this is the near end of a tunnel: what the server itself is bound to cannot be "
        "seen from here",
        "hidden": "its listener is not in this machine's socket table (a container, or another "
        "user's process): what it is bound to cannot be seen",
        "elsewhere": f"seen from the outside: {urlsplit(url).hostname} answers to this machine "
        f"over {urlsplit(url).scheme}; what else reaches it cannot be seen from here",
    }[place.side]
    return Finding("address", "unknown", words, "", "run rerank-kit doctor on the server's machine")


def _access(url: str, place: Place, timeout_seconds: float) -> Finding:
    """What answers without a key. That matters where others can reach it."""
    stranger = Transport(url, "", timeout_seconds, retries=0)
    try:
        if not _answers(stranger, "GET", "/v1/models"):
            if _refuses(stranger, "/v1/models"):
                return _with_key(stranger, place)
            return Finding("access", "unknown", "/v1/models does not answer without a key")
    except UnreachableError as error:
        return Finding("access", "unknown", f"it could not be asked: {error.message}")
    finally:
        stranger.close()
    if not place.open:
        where = "and only this machine reaches it" if place.side == "here" else (
            "and who else reaches it cannot be seen from here"
        )
        status = "ok" if place.side == "here" else "unknown"
        return Finding("access", status, f"every path answers without a key, {where}")
    return Finding(
        "access", "fix", "every path answers to strangers: there is no key",
        "none for the order; others' requests slow yours down and are on your bill",
        f"RERANK_API_KEY at launch, and {_PROXY}",
    )  # fmt: skip


def _with_key(stranger: Transport, place: Place) -> Finding:
    paths = [path for path in _UNGUARDED_POST if _answers(stranger, "POST", path)]
    paths += [path for path in _UNGUARDED_GET if _answers(stranger, "GET", path)]
    if not paths:
        return Finding("access", "ok", "the key is asked for on every path that was tried")
    named = ", ".join(paths)
    if not place.open:
        return Finding(
            "access", "ok",
            f"the key guards /v1 and /v2 only; {named} answer without it, to this machine alone",
        )  # fmt: skip
    return Finding(
        "access", "fix", f"a key is set, but {named} answer without it",
        "none for the order; the key protects nothing: /rerank scores for everybody", _PROXY,
    )  # fmt: skip


def _answers(stranger: Transport, method: str, path: str) -> bool:
    """An answer of any kind but "no such path" and "no key" is an open door."""
    try:
        stranger.get(path) if method == "GET" else stranger.post(path, {})
    except (AuthError, WrongServerError):
        return False
    except UnreachableError:
        raise
    except RequestError:
        return True
    return True


def _refuses(stranger: Transport, path: str) -> bool:
    try:
        stranger.get(path)
    except AuthError:
        return True
    except RequestError:
        return False
    return False
