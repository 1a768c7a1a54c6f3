"""Examine a server from outside: ask all the questions, in the order in which they make sense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rerank_kit.client.transport import Transport
from rerank_kit.doctor import (
    exposure_checks,
    known_bugs,
    limit_checks,
    parity,
    prompt_checks,
    score_checks,
)
from rerank_kit.doctor.findings import LAUNCH_FIX, Examination, Finding
from rerank_kit.doctor.known_pairs import identify
from rerank_kit.doctor.patient import Patient
from rerank_kit.errors import AuthError, RequestError, UnreachableError


def examine(
    url: str,
    api_key: str | None = None,
    timeout_seconds: float = 60.0,
    model_dir: str | Path | None = None,
) -> Examination:
    """Look at a server from outside: does it rerank, does it read the official prompt to the last
    token, are its scores the model's, how long may texts be, who can reach it.

    model_dir: the folder of the served model; its scores are then computed with transformers in
    float32 (in another process) and compared. Raises InputError for an address that is none.
    """
    transport = Transport(url, api_key, timeout_seconds, retries=1, retry_seconds=10.0)
    folder = parity.checked_folder(model_dir) if model_dir is not None else None
    try:
        findings = _examine(Patient(transport), folder)
    finally:
        transport.close()
    return Examination(transport.root, tuple(findings))


def _examine(patient: Patient, model_dir: Path | None) -> list[Finding]:
    transport = patient.transport
    findings = [_reachable(patient)]
    if findings[0].status != "ok":
        if findings[0].detail.startswith("it asks for a key"):
            findings += exposure_checks.findings(transport.root, transport.timeout_seconds)
        return findings
    findings += [known_bugs.version(patient), score_checks.reranks(patient)]
    if findings[-1].status == "ok":
        findings += _scores(patient, model_dir)
    return findings + exposure_checks.findings(transport.root, transport.timeout_seconds)


def _scores(patient: Patient, model_dir: Path | None) -> list[Finding]:
    """Everything that needs a server that scores. One check that cannot be made does not keep
    the others from being made."""
    model = identify(patient)
    checks: list[tuple[str, Callable[[], Finding | list[Finding]]]] = [
        ("official_prompt", lambda: prompt_checks.official_prompt(patient, model)),
        ("instruction", lambda: prompt_checks.instruction(patient, model)),
        ("control_tokens", lambda: prompt_checks.control_tokens(patient, model)),
        ("activation", lambda: score_checks.activation(patient, model)),
        ("known_pairs", lambda: score_checks.model_findings(patient, model)),
        ("context_length", lambda: limit_checks.context_length(patient)),
        ("truncation", lambda: limit_checks.truncation(patient)),
    ]
    if model_dir is not None:
        checks.append(("parity", lambda: parity.finding(patient, model_dir)))
    findings: list[Finding] = []
    for name, check in checks:
        try:
            made = check()
        except UnreachableError:
            findings.append(Finding(name, "fix", "the server stopped answering", "", "see its log"))
            break
        except RequestError as error:
            made = Finding(name, "unknown", f"this could not be tried: {error.message}")
        findings += made if isinstance(made, list) else [made]
    return findings


def _reachable(patient: Patient) -> Finding:
    try:
        name = patient.card["id"]
    except AuthError:
        return Finding(
            "reachable", "fix", "it asks for a key and was given none, or a wrong one",
            "nothing is ranked", "set RERANK_API_KEY to the key it was started with",
        )  # fmt: skip
    except RequestError as error:
        return Finding("reachable", "fix", error.message, "nothing is ranked",
                       error.hint or LAUNCH_FIX)  # fmt: skip
    return Finding("reachable", "ok", f"answers and serves {name}")
