"""One line of the report on a machine."""

from __future__ import annotations

from dataclasses import dataclass

from rerank_kit.language import localised


@dataclass(frozen=True)
class Finding:
    """One line of a report. status is ok, fix or unknown; fix is a command or one sentence."""

    id: str
    status: str
    detail: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"id": self.id, "status": self.status, "detail": self.detail, "fix": self.fix}

    def __str__(self) -> str:
        line = f"[{self.status}]".ljust(10) + localised(self.detail)
        return f"{line}\n          -> {localised(self.fix)}" if self.fix else line
