"""What the doctor says: findings, each with what it costs and the exact change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rerank_kit.language import localised

#: How to start a right server; the end of many fixes.
LAUNCH_FIX = "start it with `rerank-kit launch`, or copy the flags of `rerank-kit launch --print`"


@dataclass(frozen=True)
class Finding:
    """status: ok, fix, or unknown (it cannot be seen from here). cost: what it does to the
    ranking, measured on that server where it can be. fix: the flag or file to change."""

    id: str
    status: str
    detail: str
    cost: str = ""
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        return {
            "id": self.id, "status": self.status, "detail": self.detail, "cost": self.cost,
            "fix": self.fix,
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"[{self.status}]".ljust(10) + localised(self.detail)]
        if self.cost:
            lines.append(" " * 10 + localised(f"costs: {self.cost}"))
        if self.fix:
            lines.append(f"          -> {localised(self.fix)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Examination:
    """The doctor's findings on one server."""

    url: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True when nothing needs fixing (what cannot be seen from outside is not a fault)."""
        return all(finding.status != "fix" for finding in self.findings)

    @property
    def faults(self) -> tuple[str, ...]:
        """The ids of what needs fixing."""
        return tuple(finding.id for finding in self.findings if finding.status == "fix")

    def __getitem__(self, identifier: str) -> Finding:
        return next(finding for finding in self.findings if finding.id == identifier)

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self.findings)

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "url": self.url,
            "findings": [finding.as_dict() for finding in self.findings],
        }
