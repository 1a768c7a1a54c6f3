"""Ready means: a pair with a known answer was really scored, and right."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rerank_kit import models
from rerank_kit.client import Reranker
from rerank_kit.errors import LaunchError
from rerank_kit.samples import KNOWN_DOCUMENTS, KNOWN_MARGIN, KNOWN_QUERY
from rerank_kit.server.settings import ServerSettings

#: How far a score may be from the known answer. float32 agrees with the official recipe to
#: 1e-6; half precision was seen to move single scores by up to 0.02, and batching adds to it.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.05}


@dataclass(frozen=True)
class KnownAnswer:
    query: str
    document: str
    score: float


def known_answers() -> list[KnownAnswer]:
    """Pairs and float32 scores of the practice model, computed with transformers when it was
    trained (practice/known_answers.json)."""
    path = models.practice_model_dir() / "known_answers.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [KnownAnswer(row["query"], row["document"], row["score"]) for row in rows]


def check_scores(reranker: Reranker, settings: ServerSettings) -> None:
    """Score known pairs. Raises LaunchError when the server answers but scores wrongly."""
    own = _last_flag(settings, "--quantization") is None  # its weights are the recorded ones
    practice = own and settings.model == str(models.practice_model_dir())
    check_known_answers(
        reranker, practice=practice, dtype=_last_flag(settings, "--dtype") or settings.dtype
    )


def check_known_answers(reranker: Reranker, *, practice: bool, dtype: str = "float32") -> None:
    """The same for a server whose settings are not at hand (on another machine). practice: it
    serves the practice model, whose scores are recorded."""
    if practice:
        answers = known_answers()
        scores = reranker.score([(answer.query, answer.document) for answer in answers])
        allowed = TOLERANCE.get(dtype, 0.05)
        worst = max(
            abs(score - answer.score) for score, answer in zip(scores, answers, strict=True)
        )
        if worst > allowed:
            raise _wrong(f"a known pair is off by {worst:.4f} (allowed {allowed})", scores)
        return
    good, bad = reranker.score([(KNOWN_QUERY, text) for text in KNOWN_DOCUMENTS])
    if good - bad < KNOWN_MARGIN:
        raise _wrong(f"a right answer scores {good:.3f}, a wrong one {bad:.3f}", [good, bad])


def _last_flag(settings: ServerSettings, name: str) -> str | None:
    """The value of a flag that the user passed on to vLLM; None: it was not passed."""
    found = None
    words = settings.extra_args
    for place, word in enumerate(words):
        if word == name:
            found = words[place + 1] if place + 1 < len(words) else ""
        elif word.startswith(name + "="):
            found = word.split("=", 1)[1]
    return found


def _wrong(evidence: str, scores: list[float]) -> LaunchError:
    hint = "check that no flag of yours changes the template, the overrides or the precision"
    if is_headless(scores):
        hint = (
            "the yes/no head is empty: a checkpoint whose output head was left out or quantised "
            '(its quantization_config must ignore "lm_head" and "score"), or the 8B on a vLLM '
            "before 0.11.2; serve the original weights"
        )
    return LaunchError(
        "The server is up, but its scores are wrong.", evidence=evidence, hint=hint
    )


def is_headless(scores: list[float]) -> bool:
    """Every pair at 0.5: the sigmoid of an output head that is all zeros."""
    return bool(scores) and all(abs(score - 0.5) < 1e-3 for score in scores)
