"""What is broken on purpose, and what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rerank_kit.errors import RerankKitError
from rerank_kit.server.diagnosis import Diagnosis
from rerank_kit.server.recovery import Remedy


class LeftOut(Exception):
    """This cannot be provoked on this machine; the reason, for people."""


@dataclass(frozen=True)
class Outcome:
    """What happened. family and evidence: what was diagnosed. remedies: what was changed, one
    sentence each; fixes: the same in short. running: after that it served and scored. expected:
    what should be found. only_broken: it was not to be mended."""

    name: str
    broken_by: str
    expected: tuple[str, ...]
    family: str
    confidence: str
    evidence: str
    remedies: tuple[str, ...]
    fixes: tuple[str, ...]
    running: bool
    seconds: float
    only_broken: bool = False
    left_out: str = ""

    @property
    def good(self) -> bool:
        """Diagnosed as what it was, and running again."""
        if self.left_out:
            return True
        return self.family in self.expected and (self.running or self.only_broken)

    def __str__(self) -> str:
        if self.left_out:
            return f"{self.name}: left out, {self.left_out}"
        lines = [f"{self.name}: {self.broken_by}", f"  found: {self.family} ({self.confidence})"]
        lines += [f"  {text}" for text in (self.evidence, *self.remedies) if text]
        return "\n".join([*lines, f"  then: {'running' if self.running else 'not running'}"])


@dataclass(frozen=True)
class Provocation:
    """broken_by: what is done, one sentence. expected: the families that are right. around:
    what else is broken while it starts. by_hand: what a person does where no setting cures it:
    start again without what was broken. run: how, where it is not simply a start that fails."""

    name: str
    broken_by: str
    expected: tuple[str, ...]
    flags: tuple[str, ...] = ()
    around: Callable[[], contextlib.AbstractContextManager[dict[str, Any]]] | None = None
    by_hand: str = ""
    run: Callable[[Provocation, Seen], bool] | None = None


@dataclass
class Seen:
    """What has been observed so far. mend: whether it is to run again."""

    mend: bool
    family: str = ""
    confidence: str = ""
    evidence: str = ""
    remedies: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)

    def take(self, error: RerankKitError) -> None:
        """A start failed."""
        found = getattr(error, "diagnosis", None)
        if found is not None:
            self.found(found)
        elif not self.family and "No space left" in f"{error.message} {error.evidence}":
            self.family, self.confidence = "disk_full", "certain"
        self.evidence = self.evidence or error.evidence or error.message

    def found(self, diagnosis: Diagnosis) -> None:
        """The first failure counts; what comes after a cure is another one."""
        if not self.family:
            self.family, self.confidence = diagnosis.family, diagnosis.confidence
            self.evidence = diagnosis.evidence[0].text if diagnosis.evidence else ""

    def mended(self, remedy: Remedy) -> None:
        """The kit has changed a setting."""
        if remedy.diagnosis is not None:
            self.found(remedy.diagnosis)
        self.remedies.append(str(remedy))
        self.fixes.append(remedy.change)

    def mended_by_hand(self, fix: str) -> None:
        self.remedies.append(f"By hand: {fix}.")
        self.fixes.append(f"by hand: {fix}")
