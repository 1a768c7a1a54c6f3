"""Instructions: ready-made ones, your own beside them, and whether one helps on your pairs."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_kit import registry
from rerank_kit.client.texts import clean, listed, shown, whole_number
from rerank_kit.errors import InputError

if TYPE_CHECKING:
    from rerank_kit.client.reranker import Reranker

#: Beginnings that people glue to a query. The model reads them as words of the query; what
#: follows "Instruct:" is then no instruction at all. The field `instruction` is.
_PREFIX = re.compile(
    r"\s*(<?(?:instruct|instruction|query|task|指令|任务|问题|查询)>?\s*[:：]\s*)", re.IGNORECASE
)
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,47}")


@dataclass(frozen=True)
class Template:
    """One instruction. zh: what it asks for, in Chinese. needs: what must be in the documents."""

    name: str
    text: str
    zh: str = ""
    needs: str = ""
    yours: bool = False


def templates() -> dict[str, Template]:
    """All templates by name, yours last."""
    return _shipped() | _saved()


def template(name: str) -> Template:
    """The template of that name. Raises InputError with the names there are."""
    found = templates()
    if name not in found:
        raise InputError(f"There is no instruction {name!r}.", hint=f"one of {', '.join(found)}")
    return found[name]


def save_template(name: str, text: str, zh: str = "", needs: str = "") -> Template:
    """Keep an instruction of your own, for every notebook and command. The same name again
    replaces it; the names of the shipped ones are taken."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be a template's name.", hint="small letters, digits and _ : my_shop"
        )
    if name in _shipped():
        raise InputError(f"{name!r} is a shipped template.", hint="choose another name")
    for value, what in ((text, "instruction"), (zh, "zh"), (needs, "needs")):
        clean(value, what)
    if not text.strip():
        raise InputError("The instruction is empty.")
    kept = registry.read_json_object(_path())
    kept[name] = {"text": text, "zh": zh, "needs": needs}
    registry.write_json(_path(), kept)
    return Template(name, text, zh, needs, yours=True)


def forget_template(name: str) -> None:
    """Remove one of your own; a shipped or unknown name raises InputError."""
    kept = registry.read_json_object(_path())
    if name not in kept:
        raise InputError(f"{name!r} is not one of your own templates.")
    del kept[name]
    registry.write_json(_path(), kept)


def glued_prefix(query: str) -> str | None:
    """The "Instruct: " at a query's beginning, if there is one.

    >>> glued_prefix("Instruct: find laws. Query: theft")
    'Instruct:'
    >>> glued_prefix("instructions for a washing machine") is None
    True
    """
    found = _PREFIX.match(query)
    return found.group(1).strip() if found else None


@dataclass(frozen=True)
class LabelledQuery:
    """A query with documents and, for each, whether it is relevant."""

    query: str
    documents: tuple[str, ...]
    relevant: tuple[bool, ...]


@dataclass(frozen=True)
class InstructionEffect:
    """Mean quality without and with the instruction, over the queries; the interval holds the
    true mean difference with the given confidence (paired bootstrap over queries)."""

    without: float
    with_instruction: float
    low: float
    high: float
    queries: int
    confidence: float
    metric: str

    @property
    def difference(self) -> float:
        return self.with_instruction - self.without

    @property
    def verdict(self) -> str:
        """helps, hurts, or no difference shown."""
        if self.low > 0:
            return "helps"
        return "hurts" if self.high < 0 else "no difference shown"

    def __str__(self) -> str:
        return (
            f"{self.metric}: {self.without:.3f} -> {self.with_instruction:.3f} "
            f"({self.difference:+.3f}, {self.confidence:.0%} interval {self.low:+.3f} to "
            f"{self.high:+.3f}, {self.queries} queries): {self.verdict}"
        )


def group_pairs(pairs: Iterable[tuple[str, str, Any]]) -> list[LabelledQuery]:
    """(query, document, label) pairs -> one LabelledQuery for each query that has relevant AND
    irrelevant documents; the others cannot show a difference. A label is true or false, 1 or 0."""
    grouped: dict[str, list[tuple[str, bool]]] = {}
    for place, row in enumerate(listed(pairs)):
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != 3:
            raise InputError(f"pair {place} is not (query, document, label): {shown(row)}")
        query, document, label = row
        if label not in (0, 1):
            raise InputError(f"the label of pair {place} must be 0 or 1, not {shown(label)}")
        grouped.setdefault(query, []).append((document, bool(label)))
    return [
        LabelledQuery(query, tuple(text for text, _ in rows), tuple(label for _, label in rows))
        for query, rows in grouped.items()
        if len({label for _, label in rows}) == 2
    ]


def measure_instruction(
    reranker: Reranker,
    pairs: Iterable[tuple[str, str, Any]],
    instruction: str,
    baseline: str | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> InstructionEffect:
    """Does an instruction help on your labelled pairs?

    pairs: (query, document, label 0 or 1). The quality of a query is the share of its (relevant,
    irrelevant) pairs of documents that come in the right order, ties counting half. baseline: the
    instruction to compare with (None: the official default). Raises InputError where no query
    has both kinds of documents.
    """
    labelled = group_pairs(pairs)
    if not labelled:
        raise InputError(
            "No query has a relevant and an irrelevant document.",
            hint="label at least one of each for a query",
        )
    whole_number("resamples", resamples, 100)
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence must be from 0.5 to below 1, not {confidence!r}.")
    flat = [(one.query, text) for one in labelled for text in one.documents]
    quality = [
        _qualities(labelled, reranker.score(flat, wording, raw_scores=True))
        for wording in (baseline, instruction)
    ]
    differences = [told - plain for plain, told in zip(*quality, strict=True)]
    low, high = bootstrap_interval(differences, confidence, resamples, seed)
    return InstructionEffect(
        _mean(quality[0]), _mean(quality[1]), low, high, len(labelled), confidence,
        "pairs in the right order",
    )  # fmt: skip


def bootstrap_interval(
    differences: Sequence[float], confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of paired differences."""
    rng = random.Random(seed)
    count = len(differences)
    means = sorted(_mean(rng.choices(differences, k=count)) for _ in range(resamples))
    tail = (1 - confidence) / 2
    return means[int(tail * resamples)], means[min(int((1 - tail) * resamples), resamples - 1)]


def _qualities(labelled: list[LabelledQuery], scores: list[float]) -> list[float]:
    found, place = [], 0
    for one in labelled:
        own = scores[place : place + len(one.documents)]
        place += len(one.documents)
        good = [score for score, label in zip(own, one.relevant, strict=True) if label]
        bad = [score for score, label in zip(own, one.relevant, strict=True) if not label]
        won = sum((a > b) + 0.5 * (a == b) for a in good for b in bad)
        found.append(won / (len(good) * len(bad)))
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@cache
def _shipped() -> dict[str, Template]:
    text = (files("rerank_kit.client") / "instructions.toml").read_text(encoding="utf-8")
    return {name: Template(name, **row) for name, row in tomllib.loads(text).items()}


def _saved() -> dict[str, Template]:
    return {
        name: Template(name, row["text"], row.get("zh", ""), row.get("needs", ""), yours=True)
        for name, row in registry.read_json_object(_path()).items()
        if isinstance(row, dict) and isinstance(row.get("text"), str) and name not in _shipped()
    }


def _path() -> Path:
    return registry.state_dir() / "instructions.json"
