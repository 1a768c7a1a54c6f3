"""Which vLLM is it, and what is known to be wrong with that release?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rerank_kit import versions
from rerank_kit.doctor.findings import Finding
from rerank_kit.doctor.patient import Patient

TESTED = "0.32.0"


@dataclass(frozen=True)
class KnownBug:
    """first and last: the releases it was seen in, both included."""

    first: str
    last: str
    effect: str
    cure: str
    source: str


#: Only what changes scores in silence. A bug shows as [fix] where a check above can see it; here
#: it is named, so that the user knows what to look for. What a version does with the prompt and
#: the instruction is in versions.json.
KNOWN_BUGS = (
    KnownBug(
        "0.0.0", "0.9.1", "Qwen3-Reranker is not supported", "use vLLM 0.32.0", "vllm PR 19260"
    ),
    KnownBug(
        "0.9.2", "0.11.1", "the 8B's untied head is lost: every score is 0.5",
        "use vLLM 0.32.0", "vllm PR 28117",
    ),
)  # fmt: skip


#: How a version is brought to read the official prompt -> what it does by itself, and the cure.
_BY_PROMPT = {
    versions.BY_CLIENT: (
        "chat templates are not used for scores: the prompt must come formatted",
        f"use vLLM {TESTED}; rerank_kit's own client formats it",
    ),
    versions.BY_MARKED_QUERY: (
        "the instruction field and chat_template_kwargs are ignored in silence",
        f"use vLLM {TESTED}; until then only rerank_kit's own client and template carry the "
        "instruction, inside the query",
    ),
    versions.REFUSED: ("it cannot give the official scores", f"use vLLM {TESTED}"),
}


def version(patient: Patient) -> Finding:
    found = patient.version
    if not found:
        return Finding(
            "version", "unknown", "it does not say which vLLM it is (another engine, or a proxy)"
        )
    bugs = bugs_of(found)
    if bugs:
        return Finding(
            "version", "fix", f"vLLM {found}: {'; '.join(bug.effect for bug in bugs)}",
            "scores are wrong, or wishes ignored, without any error",
            f"{bugs[0].cure}  ({', '.join(dict.fromkeys(bug.source for bug in bugs))})",
        )  # fmt: skip
    tested = "" if _numbers(found) == _numbers(TESTED) else f" (this kit was tested with {TESTED})"
    return Finding("version", "ok", f"vLLM {found}: no bug that changes scores is known{tested}")


def bugs_of(found: str) -> list[KnownBug]:
    """The known bugs of a release; empty for a version that cannot be read."""
    number = _numbers(found)
    if number is None:
        return []
    named = [
        bug
        for bug in KNOWN_BUGS
        if (_numbers(bug.first) or ()) <= number <= (_numbers(bug.last) or ())
    ]
    oldest = _numbers(versions.table()[0].version) or ()
    return named if number < oldest else _of_the_table(found) + named


def _of_the_table(found: str) -> list[KnownBug]:
    facts = versions.facts_of(found)
    if facts.prompt not in _BY_PROMPT:
        return []
    effect, cure = _BY_PROMPT[facts.prompt]
    source = f"{'measured on' if facts.was_run else 'read in the source of'} {facts.version}"
    return [KnownBug(facts.version, found, effect, cure, source)]


def _numbers(text: str) -> tuple[int, ...] | None:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else None
