"""The logs of tests/logs: tests/logs/FAMILY/NAME.log must be diagnosed as FAMILY."""

from __future__ import annotations

from pathlib import Path

from rerank_kit.server.diagnosis import Diagnosis, diagnose

LOGS = Path(__file__).parent / "logs"
FILES = sorted(LOGS.glob("*/*.log"))


def read(family: str, name: str) -> Diagnosis:
    return diagnose(LOGS / family / f"{name}.log")
