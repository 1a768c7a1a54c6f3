"""What every engine's adapter is asked and what it returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from rerank_kit.client.texts import shown
from rerank_kit.client.transport import Transport
from rerank_kit.errors import ResponseError


@dataclass(frozen=True)
class ServedModel:
    """What a server says about itself. Unknown values are None."""

    name: str | None = None
    max_model_len: int | None = None
    max_pairs: int | None = None


@dataclass(frozen=True)
class Batch:
    """Pairs that travel in one request: they share the instruction and the settings."""

    pairs: tuple[tuple[str, str], ...]
    model: str | None = None
    instruction: str | None = None
    max_tokens_per_doc: int | None = None
    raw_scores: bool = False

    @property
    def only_query(self) -> str | None:
        """The query, when all pairs have the same one."""
        queries = {query for query, _ in self.pairs}
        return queries.pop() if len(queries) == 1 else None


@dataclass(frozen=True)
class Answer:
    """Scores in the order of the pairs; tokens the server says it read, where it says so."""

    scores: list[float]
    prompt_tokens: int | None = None


class Engine(Protocol):
    """One file per engine. one_query_per_request: its route takes a single query. describe():
    told is what the server already said when the engine was found out, None if it was not."""

    name: str
    one_query_per_request: bool

    def describe(self, transport: Transport, told: Any = None) -> ServedModel: ...

    def score(self, transport: Transport, batch: Batch) -> Answer: ...


def scores_in_order(rows: Any, expected: int, key: str) -> list[float]:
    """rows of {"index", key} -> scores by index. A number that is missing, doubled or no number
    is an error: a wrong score in silence would be worse."""
    try:
        found: dict[int, float] = {}
        for row in rows:
            index, value = row["index"], row[key]
            if type(index) is not int or isinstance(value, bool | str) or index in found:
                raise ValueError
            found[index] = float(value)
        scores = [found[place] for place in range(expected)]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise ResponseError(
            f"The server's answer does not hold {expected} scores.", evidence=shown(rows),
            hint="is this address a reranker? `rerank-kit doctor --url ...` looks closer",
        ) from None
    if len(found) != expected or not all(math.isfinite(score) for score in scores):
        raise ResponseError(
            "The server sent scores that are not numbers, or too many of them.",
            hint="run `rerank-kit doctor`; a broken half-precision start gives NaN",
        )
    return scores


def rows_of(answer: Any, key: str, expected: int) -> Any:
    """answer[key], or the ResponseError that says what came instead."""
    if isinstance(answer, dict) and isinstance(answer.get(key), list):
        return answer[key]
    raise ResponseError(
        f"The server's answer does not hold {expected} scores.", evidence=shown(answer),
        hint="is this address a reranker? `rerank-kit doctor --url ...` looks closer",
    )


def tokens_of(answer: Any) -> int | None:
    """usage.prompt_tokens where the answer has it."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if type(tokens) is int and tokens > 0 else None
