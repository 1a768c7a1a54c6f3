"""Checks for the exercises of notebook 10_remote_and_safe."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from rerank_kit.exercises.outcome import PASS, reply

#: What a ranking client needs; vLLM asks for the key on all of them.
_NEEDED = {"/v1/models", "/v1/rerank", "/v1/score"}


@reply
def check_paths(paths: Collection[str]) -> str:
    """Does a proxy that lets these through serve a client, and nothing else?"""
    if isinstance(paths, str):
        return "hint: a set of paths, each between quotation marks"
    for path in sorted(paths):
        if not path.startswith("/v1/"):
            return f"hint: vLLM answers {path} to everybody, without the key"
    if set(paths) - _NEEDED:
        return "hint: a ranking does not need all of these"
    if "/v1/models" not in paths:
        return "hint: the client asks for the model's name first"
    if not set(paths) & {"/v1/rerank", "/v1/score"}:
        return "hint: and where does it send its texts?"
    return PASS


@reply
def check_tunnel(command: str, local_port: int, remote_port: int, machine: str) -> str:
    """Is this the ssh command that brings the machine's port to this one's?"""
    try:
        words = shlex.split(command)
    except ValueError:
        return "hint: a quotation mark is missing"
    if words[:1] != ["ssh"]:
        return "hint: the command begins with ssh"
    if "-R" in words:
        return "hint: -R goes the other way; the laptop wants to reach the machine"
    forward = next((word.removeprefix("-L") for word in words if word.startswith("-L:")), "")
    if "-L" in words[:-1]:
        forward = words[words.index("-L") + 1]
    if not forward:
        return "hint: -L brings a port of the machine to the laptop"
    if "0.0.0.0" in forward or forward.startswith("*"):
        return "hint: that opens the laptop's end to its whole network"
    parts = forward.split(":")
    if parts[0] in ("127.0.0.1", "localhost"):
        parts = parts[1:]
    if len(parts) != 3:
        return "hint: after -L: the port here, the address there, the port there, with : between"
    if parts[1] not in ("127.0.0.1", "localhost"):
        return "hint: the server listens on the machine's loopback address only"
    if parts[0] == str(remote_port) and parts[2] == str(local_port):
        return "hint: the laptop's port comes first"
    if parts[0] != str(local_port) or parts[2] != str(remote_port):
        return "hint: look at the two ports again"
    if words[-1] != machine:
        return "hint: the machine comes last"
    return PASS
