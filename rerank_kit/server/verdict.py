"""What a diagnosis is: a family, how sure, where, why, and what to change."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from rerank_kit.language import localised
from rerank_kit.server.logs import LogLine
from rerank_kit.server.remedies import Fix

MAX_SHOWN_CHARS = 400


@dataclass(frozen=True)
class Evidence:
    """A line of the log, counted from 1; line 0 is the exit status, which no line holds."""

    line: int
    text: str


def evidence_of(line: LogLine) -> Evidence:
    """The line as it is shown: a dump of arguments is cut."""
    shown = line.shown
    if len(shown) > MAX_SHOWN_CHARS:
        shown = shown[:MAX_SHOWN_CHARS] + " ..."
    return Evidence(line.number, shown)


@dataclass(frozen=True)
class Diagnosis:
    """What a log says. family: an id of DESIGN section 7. confidence: certain, likely, unknown."""

    family: str
    confidence: str
    stage: str
    title: str
    cause: str
    evidence: tuple[Evidence, ...] = ()
    fixes: tuple[Fix, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        return self.family == "none"

    def as_dict(self) -> dict:
        """The diagnosis as `rerank-kit diagnose --json` prints it."""
        return {
            "family": self.family,
            "confidence": self.confidence,
            "stage": self.stage,
            "title": self.title,
            "cause": self.cause,
            "evidence": [asdict(item) for item in self.evidence],
            "fixes": [asdict(fix) for fix in self.fixes],
            "numbers": dict(self.numbers),
        }

    def __str__(self) -> str:
        sure = {"certain": "", "likely": " (likely)", "unknown": " (not sure)"}[self.confidence]
        lines = [localised(self.title + sure), f"  {localised(self.cause)}"]
        for item in self.evidence:
            where = localised(f"line {item.line}" if item.line else "exit")
            lines.append(f"  {where}: {item.text}")
        for number, fix in enumerate(self.fixes, 1):
            change = localised(fix.change) if fix.kind == "advice" else fix.change
            lines += [f"  {number}. {change}", f"     {localised(fix.why)}"]
        return "\n".join(lines)


def counted_backwards(found: Diagnosis, lines: int) -> Diagnosis:
    """With the lines' own numbers, of a log of so many lines that was read from its end."""
    evidence = tuple(replace(e, line=lines + 1 - e.line if e.line else 0) for e in found.evidence)
    return replace(found, evidence=evidence)
