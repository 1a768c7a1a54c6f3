"""Which of the messages that were recognised in a log is the cause of the failure."""

from __future__ import annotations

from dataclasses import dataclass, field

from rerank_kit.server.logs import LogLine
from rerank_kit.server.signatures import Signature

#: Levels of lines after which a program goes on.
CALM = ("WARNING", "INFO", "DEBUG")
CAUSES = ("cause", "symptom", "consequence", "fallback", "end", "vague")
#: What is asked first for the cause: a mention of a cause comes after it, before the symptoms.
_RANKS = {
    "cause": 0, "symptom": 2, "consequence": 2, "fallback": 2, "end": 4, "vague": 6, "latent": 8,
    "request": 9, "status": 10,
}  # fmt: skip
#: A warning that names a cause: below whatever names a failure.
_WARNED = 5
REQUESTS = ("request", "status")
#: vLLM logs an exception, at most its traceback, and then the request that it refused for it.
REASON_LINES = 25
SOFT = ("latent", *REQUESTS)


@dataclass
class Hit:
    """One message that a signature knows. causal: it stands where a cause stands."""

    signature: Signature
    family: str
    line: LogLine
    causal: bool
    numbers: dict[str, float]
    words: dict[str, str]
    stage: str
    chained: bool  # its traceback says that it follows from the exception before it
    sure: bool  # of the stage, which decides between families
    placed: bool = True  # a traceback stood before it
    settings: dict[str, str] = field(default_factory=dict)


def first_cause(hits: list[Hit], *, ready: bool, failed: bool) -> Hit | None:
    """The first cause: messages in a causal place before mentions, causes before symptoms.

    ready: the server came up. failed: something besides the hits says that it failed.
    """
    telling = [hit for hit in hits if hit.causal and hit.signature.role != "vague"]
    first = min((hit.line.number for hit in telling), default=0)

    def rank(hit: Hit) -> tuple[int, int]:
        place = _RANKS[hit.signature.role]
        if hit.signature.role == "end" and hit.line.number == first:
            place = 0
        if hit.signature.role not in SOFT and not hit.causal:
            place = max(place, _WARNED) if hit.line.level in CALM else place + 1
        return place, hit.line.number

    def counts(hit: Hit) -> bool:
        if hit.causal or hit.signature.role in SOFT:
            return True
        # A warning explains a failure; alone it is none.
        told = hit.line.level not in CALM or hit.family == "stalled"
        return not ready and (told or failed)

    return min(filter(counts, hits), key=rank, default=None)


def explains(hit: Hit, unfamiliar: LogLine) -> bool:
    """Whether a known message is the cause, although there is an exception that is not known."""
    role = hit.signature.role
    if role == "status":  # a refusal, and just before it the reason
        return 0 < hit.line.number - unfamiliar.number <= REASON_LINES
    if role == "vague" or role in SOFT or not hit.causal:
        return False
    follows = role in ("consequence", "fallback", "end") and unfamiliar.number < hit.line.number
    return not follows or hit.chained
