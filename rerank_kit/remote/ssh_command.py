"""Read the login that a provider shows: `ssh -p 12345 root@region-1.example.com` and its kin."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from rerank_kit.errors import InputError

DEFAULT_PORT = 22
#: ssh(1): options that take a word, and those of them that say where to go.
_WITH_A_WORD = set("BbcDEeFIiJLlmOoPpQRSWw")
_FORWARDS = set("DLRW")  # a provider's own forwarding: ours takes its place
#: -o settings that are kept. Others could run programs or switch checks off.
_KEPT_SETTINGS = {
    "identitiesonly", "identityfile", "port", "user", "proxyjump", "userknownhostsfile",
    "stricthostkeychecking", "hostkeyalias", "preferredauthentications",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")  # user names of some gateways hold an @
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.%a-z0-9]*")


@dataclass(frozen=True)
class SshTarget:
    """Where to log in. jump: one or more hosts in between, as `ssh -J` takes them. settings:
    further -o settings."""

    host: str
    user: str = ""
    port: int = DEFAULT_PORT
    identity: str = ""
    jump: str = ""
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise InputError(f"{self.host!r} is no name of a host.", hint="user@host, ssh -p ...")
        if self.user and not _NAME.fullmatch(self.user):
            raise InputError(f"{self.user!r} is no name of a user.")
        if not 0 < self.port < 65536:
            raise InputError(f"{self.port} is no port.")
        for part in filter(None, self.jump.split(",")):
            if not re.fullmatch(r"(ssh://)?[A-Za-z0-9_][A-Za-z0-9_.@:\[\]-]*", part):
                raise InputError(f"{part!r} is no host to jump over.", hint="--jump user@host:port")

    @property
    def login(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host

    def words(self) -> list[str]:
        """What follows `ssh` and its own options."""
        words = []
        if self.port != DEFAULT_PORT:
            words += ["-p", str(self.port)]
        if self.identity:
            words += ["-i", self.identity]
        if self.jump and (self.identity or self.settings):
            words += ["-o", f"ProxyCommand={self._through_the_jump_hosts()}"]
        elif self.jump:
            words += ["-J", self.jump]
        for setting in self.settings:
            words += ["-o", setting]
        return [*words, self.login]

    def _through_the_jump_hosts(self) -> str:
        """What `ssh -J` does, with our key and settings at each host in between too: -J itself
        takes them for the last host only."""
        command = ""
        for part in filter(None, self.jump.split(",")):
            gate = replace(_address(part), identity=self.identity, settings=self.settings)
            words = ["ssh", "-W", "%h:%p"]
            if command:  # ssh reads the % of its own ProxyCommand; what is inside is not for it
                words += ["-o", "ProxyCommand=" + command.replace("%", "%%")]
            command = shlex.join([*words, *gate.words()])
        return command


def read_ssh_command(text: str | Sequence[str]) -> SshTarget:
    """What a person pasted: `user@host`, `ssh://user@host:port`, or a whole ssh command with its
    options in any order. Its own forwardings and its remote command are left out. Raises
    InputError for an option that would run a program here, and for what is no login."""
    try:
        words = shlex.split(text) if isinstance(text, str) else list(text)
    except ValueError as error:
        raise InputError("The login cannot be read.", evidence=str(error)) from None
    if words and words[0].rsplit("/", 1)[-1] in ("ssh", "ssh.exe"):
        words = words[1:]
    found: dict[str, list[str]] = {}
    login = ""
    for letter, value in _options(words):
        if letter:
            found.setdefault(letter, []).append(value)
        elif not login:
            login = value
    if not login:
        raise InputError(
            "There is no user@host in it.",
            hint='paste the login of the provider\'s page, e.g. "ssh -p 12345 root@host"',
        )
    target = _with_settings(_address(login), found.get("o", []))
    if "F" in found:
        raise InputError("A configuration file (-F) cannot be taken over.", hint="name its host")
    if "l" in found:
        target = replace(target, user=found["l"][-1])
    if "i" in found:
        target = replace(target, identity=found["i"][-1])
    if "J" in found:
        target = replace(target, jump=found["J"][-1])
    return replace(target, port=_port(found["p"][-1])) if "p" in found else target


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """(letter, its word) for each option, ("", word) for others."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            yield "", word
            continue
        letters = word[1:]
        for place, letter in enumerate(letters):
            if letter in _WITH_A_WORD:
                value = letters[place + 1 :] or next(rest, "")
                if not value:
                    raise InputError(f"-{letter} needs a word behind it.")
                if letter not in _FORWARDS:
                    yield letter, value
                break


def _address(login: str) -> SshTarget:
    if login.startswith("ssh://"):
        try:
            parts = urlsplit(login)
            return SshTarget(parts.hostname or "", parts.username or "", parts.port or DEFAULT_PORT)
        except ValueError as error:
            raise InputError(f"{login!r} is no ssh address.", evidence=str(error)) from None
    user, _, host = login.rpartition("@")
    name, colon, port = host.partition(":")
    if colon and ":" not in port:  # host:port, which ssh itself does not take
        return SshTarget(name, user, _port(port))
    return SshTarget(host, user)


def _with_settings(target: SshTarget, settings: list[str]) -> SshTarget:
    for setting in settings:
        name, _, value = re.sub(r"\s*=\s*|\s+", "=", setting, count=1).partition("=")
        if name.lower() not in _KEPT_SETTINGS:
            raise InputError(
                f"The setting -o {name} is not taken over: some of them run programs here.",
                hint="put it into ~/.ssh/config, which ssh reads by itself",
            )
        if name.lower() == "port":
            target = replace(target, port=_port(value))
        elif name.lower() == "user":
            target = replace(target, user=value)
        elif name.lower() == "stricthostkeychecking" and value.lower() in ("no", "off"):
            raise InputError(
                "StrictHostKeyChecking=no would let anybody on the way pose as your machine.",
                hint="leave it out, or write accept-new: the key is then remembered",
            )
        else:
            target = replace(target, settings=(*target.settings, f"{name}={value}"))
    return target


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InputError(f"{text!r} is no port.")
    return int(text)
