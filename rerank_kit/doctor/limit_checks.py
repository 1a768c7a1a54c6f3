"""How long may a document be, and what happens to a longer one?"""

from __future__ import annotations

from rerank_kit import prompt
from rerank_kit.doctor.findings import Finding
from rerank_kit.doctor.patient import Patient
from rerank_kit.errors import RequestError, RequestTooLongError

#: About a page of English. A server that takes less refuses what most corpora hold.
ROOMY_TOKENS = 512
_NEVER_TRUNCATE = "use max_tokens_per_doc; truncate_prompt_tokens cuts the end of the prompt away"


def context_length(patient: Patient) -> Finding:
    limit = _limit(patient)
    if limit is None:
        return Finding("context_length", "unknown", "it does not say how long a text may be")
    try:
        around = len(patient.tokens(prompt.render("", "")))
    except RequestError:
        around = 64  # Qwen's tokens of the prompt around the texts (SERVING.md section 4)
    room = limit - around
    detail = f"{limit:,} tokens, of which the prompt takes {around}"
    if room >= ROOMY_TOKENS:
        return Finding("context_length", "ok", f"{detail}: {room:,} are left for your texts")
    return Finding(
        "context_length", "fix", f"{detail}: only {room:,} are left for query and document",
        f"pairs above {room} tokens are refused, or lose their end if you cut them",
        "--max-model-len 8192 (or 2048 when memory is short); fine if all your texts are short",
    )


def truncation(patient: Patient) -> Finding:
    """A pair beyond the limit must be refused, not cut in silence."""
    limit = _limit(patient)
    if limit is None:
        return Finding("truncation", "unknown", "without a known limit it cannot be tried")
    too_long = [("water", "water " * (limit + 8))]
    try:
        score = patient.score(too_long)[0]
    except RequestTooLongError:
        return _cutting(patient, too_long)
    except RequestError as error:
        return Finding(
            "truncation", "unknown", f"a pair beyond the limit was refused: {error.message}"
        )
    return Finding(
        "truncation", "fix",
        f"a pair beyond {limit:,} tokens is cut in silence (it scored {score:.3f})",
        "the end of the prompt is lost, so long documents get scores without meaning",
        f"let the server refuse it, and {_NEVER_TRUNCATE}",
    )


def _cutting(patient: Patient, too_long: list[tuple[str, str]]) -> Finding:
    try:
        patient.score(too_long, max_tokens_per_doc=16)
    except RequestError:
        return Finding(
            "truncation", "ok",
            "too long pairs are refused (HTTP 400), and this server has no max_tokens_per_doc: "
            "cut documents before you send them",
        )  # fmt: skip
    detail = "too long pairs are refused (HTTP 400), and max_tokens_per_doc cuts documents rightly"
    return Finding("truncation", "ok", detail)


def _limit(patient: Patient) -> int | None:
    found = patient.card.get("max_model_len")
    return found if isinstance(found, int) and found > 0 else None
