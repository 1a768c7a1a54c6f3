"""Does it rerank, and are the scores what the model means?

Where /classify answers, the model is judged on finished official prompts: a wrong template then
shows in prompt_checks only, and a wrong head or precision shows here only.
"""

from __future__ import annotations

import math

from rerank_kit import prompt
from rerank_kit.client.scores import logit
from rerank_kit.doctor.findings import LAUNCH_FIX, Finding
from rerank_kit.doctor.known_pairs import KnownQuery, Model
from rerank_kit.doctor.patient import Patient
from rerank_kit.errors import AuthError, RequestError, WrongServerError

#: float32 on a CPU agrees with the official recipe to 1e-6; half precision was seen to move
#: single scores by up to 0.02 (server/readiness.py), a wrong prompt by far more.
_EXACT, _HALF_PRECISION = 1e-4, 0.05
#: Scores of known pairs are near 0 and 1, where float16 hardly shows: 4e-5. In the logits it
#: does: 0.005 for float16, 0.1 for bfloat16, 1e-5 for float32 (practice model, CPU).
_EXACT_LOGIT = 5e-4
_OVERRIDES = "--hf-overrides with the three keys of `rerank-kit launch --print`"
_FILLERS = 12


def reranks(patient: Patient) -> Finding:
    """Is it a reranker at all? Embedding servers answer /v1/score too."""
    try:
        scores = patient.score([("What is the capital of China?", "Beijing."), ("a", "b")])
    except WrongServerError as error:
        if patient.has_route("/v1/completions"):
            return Finding(
                "reranks", "fix", "it serves a text generator: /v1/score and /v1/rerank are 404",
                "nothing is ranked at all", f"--runner pooling and {_OVERRIDES}; {LAUNCH_FIX}",
            )  # fmt: skip
        return Finding(
            "reranks", "fix", f"it does not rerank: {error.message}", "nothing is ranked at all",
            "use the address of the reranker; vLLM needs --runner pooling and the overrides",
        )  # fmt: skip
    except AuthError:
        raise
    except RequestError as error:
        return Finding(
            "reranks", "fix", f"it does not score: {error.message}",
            "nothing is ranked at all", "read the server's log: rerank-kit diagnose LOG",
        )  # fmt: skip
    if patient.has_route("/v1/embeddings"):
        return Finding(
            "reranks", "fix",
            f"it serves embeddings: its scores ({scores[0]:.2f}, {scores[1]:.2f}) compare two "
            "vectors of a model that was not trained for it",
            "the order is close to chance, and no template or instruction is read",
            f"{_OVERRIDES} and --runner pooling; {LAUNCH_FIX}",
        )  # fmt: skip
    return Finding("reranks", "ok", "/v1/score answers as a reranker")


def activation(patient: Patient, model: Model) -> Finding:
    pairs = model.queries[0].pairs
    given, asked = patient.score(pairs), patient.score(pairs, use_activation=True)
    moved = max(abs(a - b) for a, b in zip(given, asked, strict=True))
    if moved <= _HALF_PRECISION and all(0 <= score <= 1 for score in given):
        return Finding("activation", "ok", "scores are probabilities, 0 to 1")
    return Finding(
        "activation", "fix", f"scores are raw logits ({given[0]:.2f}), not 0 to 1",
        "the order is right, but every threshold is wrong, and clients that rescale to 0..1 "
        "(RAGFlow) mix queries up",
        "take away --pooler-config's use_activation: false, or send use_activation: true",
    )


def model_findings(patient: Patient, model: Model) -> list[Finding]:
    """The scores of known pairs: different, the right way round, right, and how exact."""
    scores = _known_scores(patient, model.queries)
    if len({round(score, 6) for score in scores}) == 1:
        return [_all_equal(scores[0])]
    equal = Finding("scores", "ok", "different documents get different scores")
    relevant, irrelevant = scores[0::2], scores[1::2]
    pairs = list(zip(relevant, irrelevant, strict=True))
    swapped = sum(good < bad for good, bad in pairs) * 2 > len(pairs)
    findings = [equal, _order(swapped, pairs)]
    if model.recorded:
        worst, worst_logit = _drift(scores, model.queries, swapped)
        return [*findings, _recorded(worst, len(scores)), _precision(worst, worst_logit)]
    return [*findings, _order_only(model, pairs, swapped), _wobble(patient, model)]


def _known_scores(patient: Patient, queries: tuple[KnownQuery, ...]) -> list[float]:
    pairs = [pair for known in queries for pair in known.pairs]
    if patient.reads_prompts:
        return patient.score_prompts([prompt.render(*pair) for pair in pairs])
    return patient.score(pairs, use_activation=True)


def _all_equal(score: float) -> Finding:
    why = ""
    if abs(score - 0.5) < 1e-6:
        why = ": the head was never loaded (the 8B before vLLM PR 28117, vLLM 0.11.1)"
    return Finding(
        "scores", "fix", f"different documents all score {score:.3f}{why}",
        "the ranking is the order you sent",
        "vLLM 0.32.0 and the original weights in bfloat16, or an unbroken quantised checkpoint",
    )


def _order(swapped: bool, pairs: list[tuple[float, float]]) -> Finding:
    if not swapped:
        return Finding("yes_no_order", "ok", "a relevant document scores above an irrelevant one")
    good, bad = pairs[0]
    return Finding(
        "yes_no_order", "fix",
        f"yes and no are swapped: a right answer scores {good:.3f}, a wrong one {bad:.3f}",
        "the ranking is upside down: the worst document comes first",
        '--hf-overrides: "classifier_from_token": ["no", "yes"], in this order',
    )


def _drift(
    scores: list[float], queries: tuple[KnownQuery, ...], swapped: bool
) -> tuple[float, float]:
    """How far the worst known pair is from its recorded score, and how far in its logit."""
    recorded = [
        score for known in queries for score in (known.relevant_score, known.irrelevant_score)
    ]
    both = [
        (1 - score if swapped else score, right)
        for score, right in zip(scores, recorded, strict=True)
        if right is not None
    ]
    return (
        max(abs(score - right) for score, right in both),
        max(
            abs(logit(score) - logit(right)) if 0 <= score <= 1 else math.inf
            for score, right in both
        ),
    )


def _recorded(worst: float, count: int) -> Finding:
    if worst <= _HALF_PRECISION:
        return Finding("known_pairs", "ok", f"{count} known pairs score as recorded")
    return Finding(
        "known_pairs", "fix", f"a known pair of this model is off by {worst:.3f}",
        f"scores are off by up to {worst:.2f} on pairs nobody doubts",
        "serve the original weights: another checkpoint, a broken quantisation or a damaged file?",
    )


def _precision(worst: float, worst_logit: float) -> Finding:
    if worst <= _EXACT and worst_logit <= _EXACT_LOGIT:
        return Finding(
            "precision", "ok", f"float32: known pairs agree with the official recipe to {_EXACT}"
        )
    if worst <= _HALF_PRECISION:
        return Finding(
            "precision", "fix",
            f"half precision: known pairs drift by up to {worst:.5f} from their float32 scores",
            "near-ties change places; compare rankings, not digits",
            "--dtype float32 for this model (a real model on a GPU belongs in bfloat16)",
        )  # fmt: skip
    return Finding("precision", "unknown", "hidden behind the wrong scores above")


def _order_only(model: Model, pairs: list[tuple[float, float]], swapped: bool) -> Finding:
    """No scores of this model were recorded: a right answer must win, clearly."""
    kind = "this Qwen3 model" if model.family == "qwen3" else "this model"
    wins = sum((bad > good) if swapped else (good > bad) for good, bad in pairs)
    said = (
        f"{wins} of {len(pairs)} known queries put the right document first (order only: no "
        f"float32 scores of {kind} are recorded here)"
    )
    if wins == len(pairs):
        return Finding("known_pairs", "ok", said)
    return Finding(
        "known_pairs", "fix", said, f"{len(pairs) - wins} of {len(pairs)} obvious queries are lost",
        "rerank-kit doctor --model-dir DIR compares with transformers; is it the right checkpoint?",
    )


def _wobble(patient: Patient, model: Model) -> Finding:
    """Without recorded scores: how far does a score move when other pairs share its batch?"""
    pairs = model.queries[0].pairs
    alone = [patient.score([pair])[0] for pair in pairs]
    fillers = [("filler", "a few words more. " * n) for n in range(1, _FILLERS)]
    among = patient.score([*pairs, *fillers])[: len(pairs)]
    moved = max(abs(a - b) for a, b in zip(alone, among, strict=True))
    detail = f"a score moves by {moved:.4f} when other pairs share its batch"
    if moved <= _HALF_PRECISION:
        kind = "as in float32" if moved <= _EXACT else "half precision, as usual on a GPU"
        return Finding(
            "precision", "ok", f"{detail} ({kind}; exact figures: --model-dir)",
        )  # fmt: skip
    return Finding(
        "precision", "fix", detail, "documents change places from one request to the next",
        "--dtype bfloat16 (or float32), no quantised cache; VLLM_BATCH_INVARIANT=1 tells if it "
        "is the batch",
    )
