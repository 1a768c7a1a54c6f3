"""What one must know on a machine rented from this provider (rented.toml), and what `check` says
about it: do the models land on a disk that is kept?"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rerank_kit.machine.finding import Finding
from rerank_kit.money.providers import Provider, provider_here


@dataclass(frozen=True)
class RentedMachine:
    """A provider's machine. Each ..._source says where that comes from, and whether it is the
    provider's documentation or only reported."""

    name: str
    data_disk: str
    keeps: str
    keeps_source: str
    ssh: str
    ssh_source: str
    ports: str
    ports_source: str
    network: str
    network_source: str


@cache
def rented_machines() -> dict[str, RentedMachine]:
    """By the provider's short name."""
    text = (Path(__file__).parent / "rented.toml").read_text(encoding="utf-8")
    return {name: RentedMachine(name, **entry) for name, entry in tomllib.loads(text).items()}


def model_cache(environment: Mapping[str, str]) -> Path:
    """Where downloaded models go (huggingface_hub's rule)."""
    for name in ("HF_HUB_CACHE", "HF_HOME"):
        if environment.get(name):
            return Path(environment[name]).expanduser()
    home = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "huggingface"


def rented_findings(
    environment: Mapping[str, str] | None = None, provider: Provider | None = None
) -> list[Finding]:
    """What `check` adds on a rented machine; nothing where the provider is not recognised."""
    values = os.environ if environment is None else environment
    provider = provider or provider_here(values)
    if provider is None:
        return []
    ends = {
        "yes": "a guard can end the rent from here",
        "token": "a guard can end the rent from here, with a key",
        "no": "nothing on the machine ends the bill: use the console",
    }[provider.inside]
    findings = [Finding("rented_from", "ok", f"rented from {provider.title}: {ends}")]
    machine = rented_machines().get(provider.name)
    if machine is None or not machine.data_disk:
        return findings
    cache_folder = model_cache(values)
    if cache_folder.resolve().is_relative_to(Path(machine.data_disk).resolve()):
        detail = f"models go to {cache_folder}, on the data disk"
        return [*findings, Finding("data_disk", "ok", detail)]
    return [
        *findings,
        Finding(
            "data_disk", "fix", f"models would go to {cache_folder}. {machine.keeps}",
            f"export HF_HOME={machine.data_disk}/huggingface",
        ),
    ]  # fmt: skip
