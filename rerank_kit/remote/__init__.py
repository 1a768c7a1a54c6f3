"""From the laptop to the rented machine, without opening it to the world.

ssh_command.py reads the login line that a provider shows, tunnel.py keeps an SSH tunnel open,
remote_kit.py launches and stops servers there (far_side.py is its other end), proxy.py writes the
configuration of a reverse proxy that asks for a key on every path.
"""

from __future__ import annotations

from rerank_kit.remote.proxy import ProxySettings, proxy_config
from rerank_kit.remote.remote_kit import RemoteKit
from rerank_kit.remote.ssh_command import SshTarget, read_ssh_command
from rerank_kit.remote.tunnel import Tunnel, tunnel_command

__all__ = [
    "ProxySettings",
    "RemoteKit",
    "SshTarget",
    "Tunnel",
    "proxy_config",
    "read_ssh_command",
    "tunnel_command",
]
