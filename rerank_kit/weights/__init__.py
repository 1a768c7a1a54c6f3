"""A model's files: fetched from a hub, gone on with after a break, checked, copied to a machine
that has no network.

hubs.py asks what a model consists of, fetch.py gets one file, download.py all of them, and
checksums.py says later, and elsewhere, whether they are still whole. copying.py takes them to
another machine.
"""

from __future__ import annotations

from rerank_kit.weights.checksums import Verification, verify, write_checksums
from rerank_kit.weights.download import Download, Progress, download
from rerank_kit.weights.hubs import HubFile, HubModel, chosen_hub, list_files

__all__ = [
    "Download",
    "HubFile",
    "HubModel",
    "Progress",
    "Verification",
    "chosen_hub",
    "download",
    "list_files",
    "verify",
    "write_checksums",
]
