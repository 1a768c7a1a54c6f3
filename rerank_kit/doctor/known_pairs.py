"""Queries whose right answer is not in doubt, and which model is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rerank_kit import models
from rerank_kit.doctor.patient import Patient
from rerank_kit.errors import RequestError
from rerank_kit.server.readiness import known_answers

#: Ids of "yes" and "no" in Qwen's vocabulary (text-embeddings-inference PR 695).
QWEN_YES_NO = ([9693], [2152])


@dataclass(frozen=True)
class KnownQuery:
    """A query with a document that answers it and one that does not. The scores are those of
    the official recipe in float32, where somebody recorded them."""

    query: str
    relevant: str
    irrelevant: str
    relevant_score: float | None = None
    irrelevant_score: float | None = None

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(self.query, self.relevant), (self.query, self.irrelevant)]


#: Order only: no float32 scores of the 0.6B, 4B or 8B were recorded by this project yet.
PLAIN_QUERIES = (
    KnownQuery(
        "What is the capital of China?",
        "The capital of China is Beijing.",
        "Bake the cake at 180 degrees for thirty minutes.",
    ),
    KnownQuery(
        "how to reset a forgotten email password",
        "Choose 'forgot password' on the sign-in page; a link to set a new one is mailed to you.",
        "Most cactus species need water only every two weeks.",
    ),
    KnownQuery(
        "手机屏幕碎了怎么修",
        "更换手机屏幕前先关机，用热风软化边框的胶，再取下碎屏换上新屏。",
        "红烧肉要先焯水，再用小火慢炖一个小时。",
    ),
    KnownQuery(
        "why is the sky blue",
        "Air scatters short blue wavelengths of sunlight more than long red ones.",
        "The night train to the coast leaves at eleven.",
    ),
    KnownQuery(
        "Python 怎么读取 CSV 文件",
        "Use csv.reader(open('data.csv', newline='')) to read a CSV file in Python.",
        "周末的画展免费开放，无需预约。",
    ),
)


@dataclass(frozen=True)
class Model:
    """family: practice, qwen3 or other. name: what the server calls it."""

    family: str
    name: str
    queries: tuple[KnownQuery, ...]

    @property
    def recorded(self) -> bool:
        return self.queries[0].relevant_score is not None


def identify(patient: Patient) -> Model:
    """Which model is this? Its vocabulary says so: a name can be anything."""
    name = patient.card["id"]
    try:
        yes_no = (patient.tokens("yes"), patient.tokens("no"))
    except RequestError:
        yes_no = ([], [])
    if yes_no == _practice_yes_no() or (yes_no == ([], []) and name == models.PRACTICE):
        return Model("practice", name, _recorded_queries())
    return Model("qwen3" if yes_no == QWEN_YES_NO else "other", name, PLAIN_QUERIES)


def _practice_yes_no() -> tuple[list[int], list[int]]:
    path = models.practice_model_dir() / "tokenizer.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    return [vocabulary["yes"]], [vocabulary["no"]]


def _recorded_queries() -> tuple[KnownQuery, ...]:
    """known_answers.json as queries: its rows of one query, best and worst."""
    found = []
    answers = known_answers()
    for query in dict.fromkeys(answer.query for answer in answers):
        rows = sorted((one for one in answers if one.query == query), key=lambda one: -one.score)
        best, worst = rows[0], rows[-1]
        found.append(KnownQuery(query, best.document, worst.document, best.score, worst.score))
    return tuple(found)
