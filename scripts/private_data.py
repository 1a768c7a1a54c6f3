"""Take out of a text what it tells about a person or a machine, and prove that it is out."""

from __future__ import annotations

import getpass
import os
import re
import socket
from pathlib import Path

#: (what, pattern, what stands in its place)
_PATTERNS = (
    ("a key", re.compile(r"\b(?:hf|sk|ms|ghp)[_-][A-Za-z0-9_-]{16,}"), "KEY"),
    ("a key in a header", re.compile(r"(?i)(bearer )(?!KEY\b)[A-Za-z0-9._~+/=-]{8,}"), r"\1KEY"),
    (
        "a GPU's serial number",
        re.compile(r"\b(?:GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        "SERIAL",
    ),
    (
        "an address",
        re.compile(r"\b(?!127\.0\.0\.1\b|0\.0\.0\.0\b)\d{1,3}(?:\.\d{1,3}){3}\b(?!\.\d)"),
        "ADDRESS",
    ),
    ("an e-mail address", re.compile(r"\b[\w.+-]+@[\w-]+\.[a-z]{2,}\b"), "MAIL"),
    ("a folder of a person", re.compile(r"/(?:home|Users|root)(?:/[\w.-]+)?(?=/)"), "~"),
)
#: Names that say nothing about anybody and stand in every log.
_COMMON_NAMES = {"root", "user", "ubuntu", "localhost", "admin", "test", "runner", "vllm"}


def without_private_data(text: str) -> str:
    """text with keys, addresses, serial numbers, and the names of this machine, of its user and
    of the user's folders replaced by words that say what stood there."""
    for name, word in _names():
        text = _as_a_word(name).sub(word, text)
    for _, pattern, word in _PATTERNS:
        text = pattern.sub(word, text)
    return text


def left_in(text: str) -> list[str]:
    """What of this is still in a text, in words."""
    found = [word for name, word in _names() if _as_a_word(name).search(text)]
    return found + [what for what, pattern, _ in _PATTERNS if pattern.search(text)]


def _names() -> list[tuple[str, str]]:
    """Names of this machine and its user, the longest first."""
    names = {
        str(Path.home()): "~",
        str(Path(__file__).resolve().parent.parent): "PROJECT",
        socket.gethostname(): "HOST",
        socket.getfqdn(): "HOST",
    }
    try:
        names[getpass.getuser()] = "USER"
    except OSError:
        pass  # a container may run as a number without a name
    key = os.environ.get("RERANK_API_KEY", "")
    if key:
        names[key] = "KEY"
    telling = [name for name in names if len(name) > 2 and name.lower() not in _COMMON_NAMES]
    return [(name, names[name]) for name in sorted(telling, key=len, reverse=True)]


def _as_a_word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
