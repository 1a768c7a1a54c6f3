"""Outcomes -> a Ranking: order, threshold, top_n, and notes on what was done to the texts."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_kit.client.instructions import glued_prefix
from rerank_kit.client.jobs import Outcome, Settings
from rerank_kit.client.ranking import RankedDocument, Ranking, UnscoredDocument
from rerank_kit.client.texts import Document
from rerank_kit.errors import RequestError, ResponseError

_NAMED_IN_A_NOTE = 10


def make_ranking(
    query: str,
    instruction: str | None,
    model: str,
    query_tokens_found: tuple[str, ...],
    items: Sequence[Document],
    outcomes: Sequence[Outcome],
    *,
    top_n: int | None,
    threshold: float | None,
    settings: Settings,
    with_texts: bool,
    raise_errors: bool,
    prompt_tokens: int | None,
    seconds: float | None,
) -> Ranking:
    """raise_errors: also raise when no document at all could be scored. mode "error" always
    raises, with the places of all that are too long."""
    failed = [place for place, outcome in enumerate(outcomes) if outcome.score is None]
    if failed and (settings.long.mode == "error" or (raise_errors and len(failed) == len(items))):
        raise _name_documents(failed, outcomes)
    order = sorted(
        (place for place in range(len(items)) if outcomes[place].score is not None),
        key=lambda place: (-(outcomes[place].score or 0.0), place),
    )
    kept = [
        place for place in order
        if threshold is None or (outcomes[place].score or 0.0) >= threshold
    ]  # fmt: skip
    ranked = tuple(
        RankedDocument(
            rank=rank,
            index=place,
            score=outcomes[place].score or 0.0,
            text=items[place].text if with_texts else "",
            id=items[place].id,
            neutralised=items[place].control_tokens,
            passages=outcomes[place].passages,
            truncated=outcomes[place].truncated,
        )
        for rank, place in enumerate(kept[:top_n], start=1)
    )
    unscored = tuple(
        UnscoredDocument(place, items[place].id, _reason(outcomes[place])) for place in failed
    )
    return Ranking(
        query, instruction, model, ranked,
        _notes(query, query_tokens_found, items, outcomes, settings, failed),
        unscored, settings.raw_scores, prompt_tokens, seconds,
    )  # fmt: skip


def name_pair(name: str, outcome: Outcome) -> RequestError:
    """The error of one pair, with its place."""
    error = outcome.error or ResponseError("It has no score.")
    message = error.message.removeprefix("It ")
    joined = f"{name} {message}" if message != error.message else f"{name}: {error.message}"
    return type(error)(joined, evidence=error.evidence, hint=error.hint)


def _name_documents(failed: list[int], outcomes: Sequence[Outcome]) -> RequestError:
    error = name_pair(f"Document {failed[0]}", outcomes[failed[0]])
    if len(failed) > 1:
        error.evidence = f"{len(failed)} documents cannot be scored: {_places(failed)}. " + (
            error.evidence
        )
    return error


def _reason(outcome: Outcome) -> str:
    return outcome.error.message if outcome.error else "no score"


def _places(places: Sequence[int]) -> str:
    shown = ", ".join(map(str, places[:_NAMED_IN_A_NOTE]))
    return shown + (" ..." if len(places) > _NAMED_IN_A_NOTE else "")


def _notes(
    query: str,
    query_tokens_found: tuple[str, ...],
    items: Sequence[Document],
    outcomes: Sequence[Outcome],
    settings: Settings,
    failed: list[int],
) -> tuple[str, ...]:
    notes = []
    prefix = glued_prefix(query)
    if prefix:
        notes.append(
            f"the query begins with {prefix!r}, which the model reads as part of the query: "
            "pass the instruction as instruction= instead"
        )
    if query_tokens_found:
        found = ", ".join(query_tokens_found)
        notes.append(f"control tokens in the query were neutralised: {found}")
    hit = [place for place, item in enumerate(items) if item.control_tokens]
    if hit:
        notes.append(f"control tokens were neutralised in document {_places(hit)}")
    cut = [place for place, outcome in enumerate(outcomes) if outcome.truncated]
    parted = [
        place for place, outcome in enumerate(outcomes)
        if len(outcome.passages) > 1 and not outcome.truncated
    ]  # fmt: skip
    if parted:
        pooled = "best" if settings.long.pooling == "max" else f"mean of the best {_k(settings)}"
        notes.append(f"scored in passages ({pooled} counts): document {_places(parted)}")
    if cut:
        notes.append(f"only the beginning was read of document {_places(cut)}")
    if failed:
        notes.append(f"too long, not scored: document {_places(failed)}")
    return tuple(notes)


def _k(settings: Settings) -> int:
    return settings.long.top_k
