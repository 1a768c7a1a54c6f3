"""What a running server does with each kind of request: plain HTTP, no code of the client."""

from __future__ import annotations

import math
from typing import Any, Protocol

import requests

from rerank_kit.prompt import mark_instruction, render, render_halves

#: float32 scores agree with the official recipe to 1e-6; a wrong prompt moves them by far more.
TOLERANCE = 1e-4
PAIRS = (
    ("How do I water a cactus?", "Give a cactus a little water every two weeks."),
    ("How do I water a cactus?", "The night train to the coast leaves at eleven."),
    ("手机屏幕碎了怎么修", "更换手机屏幕需要先关机，再用吹风机加热边缘。"),
    ("", "a document without a query"),
    (" spaces and\n\nnewlines ", "\n text with white space around it \n"),
)
INSTRUCTION = "Retrieve only documents about railways and night trains"
LONG = "the warranty of part seven ends next year because most timeouts vanish " * 40
LIMIT_TOKENS = 24


class Recipe(Protocol):
    """The official recipe in float32 (tests/official_recipe.py)."""

    tokenizer: Any

    def score(self, query: str, document: str, instruction: str | None = None) -> float: ...


def observe(url: str, recipe: Recipe) -> dict[str, Any]:
    """Facts of one server, by the names that versions.json has for them."""
    fields = _score_fields(url)
    found: dict[str, Any] = {"score_fields": list(fields) if fields else None}
    if fields is None:
        return found

    def agrees(pairs: Any, told: str | None, **extra: Any) -> bool:
        """Do the scores of these wire texts equal the recipe's for PAIRS?"""
        seen = _scores(url, fields, pairs, **extra)
        return _equal(seen, _official(recipe, told))

    marked = [(mark_instruction(query, INSTRUCTION), text) for query, text in PAIRS]
    halves = [render_halves(query, text) for query, text in PAIRS]
    told_halves = [render_halves(query, text, INSTRUCTION) for query, text in PAIRS]
    found |= {
        "score_template": agrees(PAIRS, None),
        "instruction_field": agrees(PAIRS, INSTRUCTION, instruction=INSTRUCTION),
        "marked_query": agrees(marked, INSTRUCTION),
        "client_prompt": agrees(halves, None) and agrees(told_halves, INSTRUCTION),
        "limits_documents": _limits_documents(url, fields, recipe),
        "raw_scores": _gives_raw_scores(url, fields, recipe),
        "rerank_route": _reranks(url),
        "tokenize_roles": _tokenizes_roles(url),
        "errors": _errors(url, fields),
    }
    return found


def _score_fields(url: str) -> tuple[str, str] | None:
    for fields in (("queries", "documents"), ("text_1", "text_2")):
        if _scores(url, fields, PAIRS) is not None:
            return fields
    return None


def _scores(url: str, fields: tuple[str, str], pairs: Any, **extra: Any) -> list[float] | None:
    body = {
        fields[0]: [query for query, _ in pairs], fields[1]: [text for _, text in pairs], **extra
    }  # fmt: skip
    answer = requests.post(f"{url}/v1/score", json=body, timeout=300)
    if answer.status_code != 200 or "data" not in answer.json():
        return None  # 0.16.0 says 200 even when its engine has just died
    rows = sorted(answer.json()["data"], key=lambda row: row["index"])
    return [row["score"] for row in rows]


def _equal(seen: list[float] | None, official: list[float]) -> bool:
    return seen is not None and all(
        abs(a - b) <= TOLERANCE for a, b in zip(seen, official, strict=True)
    )


def _limits_documents(url: str, fields: tuple[str, str], recipe: Recipe) -> bool:
    """Is max_tokens_per_doc honoured, and by cutting the document instead of the prompt?"""
    offsets = recipe.tokenizer(LONG, return_offsets_mapping=True, add_special_tokens=False)
    cut = LONG[: offsets["offset_mapping"][LIMIT_TOKENS - 1][1]]
    query = PAIRS[0][0]
    seen = _scores(url, fields, [(query, LONG)], max_tokens_per_doc=LIMIT_TOKENS)
    return _equal(seen, [recipe.score(query, cut)])


def _gives_raw_scores(url: str, fields: tuple[str, str], recipe: Recipe) -> bool:
    """Is use_activation=False honoured? Compared where the prompt is right by the client."""
    pairs = PAIRS if _equal(_scores(url, fields, PAIRS), _official(recipe)) else [
        render_halves(query, text) for query, text in PAIRS
    ]  # fmt: skip
    raw = _scores(url, fields, pairs, use_activation=False)
    return raw is not None and _equal(
        [1 / (1 + math.exp(-score)) for score in raw], _official(recipe)
    )


def _official(recipe: Recipe, told: str | None = None) -> list[float]:
    return [recipe.score(query, text, told) for query, text in PAIRS]


def _reranks(url: str) -> bool:
    body = {"query": PAIRS[0][0], "documents": [text for _, text in PAIRS[:2]]}
    answer = requests.post(f"{url}/v1/rerank", json=body, timeout=300)
    return answer.status_code == 200 and "relevance_score" in answer.json()["results"][0]


def _tokenizes_roles(url: str) -> bool:
    """Does /tokenize show the prompt of a query and a document?"""
    query, document = PAIRS[0]
    messages = [{"role": "query", "content": query}, {"role": "document", "content": document}]
    plain = {"prompt": render(query, document), "add_special_tokens": False}
    seen = [
        requests.post(f"{url}/tokenize", json=body, timeout=60)
        for body in ({"messages": messages}, plain)
    ]
    good = all(answer.status_code == 200 for answer in seen)
    return good and seen[0].json()["tokens"] == seen[1].json()["tokens"]


def _errors(url: str, fields: tuple[str, str]) -> dict[str, str]:
    """Status and shape of the answer to requests that cannot be served, or just might."""
    first, second = fields
    pair = {first: ["q"], second: ["d"]}
    requests_by_name: dict[str, tuple[str, dict[str, Any]]] = {
        "too_long": ("/v1/score", {first: ["q"], second: ["word " * 9000]}),
        "missing_documents": ("/v1/rerank", {"query": "q"}),
        "no_documents": ("/v1/rerank", {"query": "q", "documents": []}),
        "unequal_lists": ("/v1/score", {first: ["a", "b"], second: ["c", "d", "e"]}),
        "wrong_model": ("/v1/score", {**pair, "model": "no-such-model"}),
        "null_limit": ("/v1/score", {**pair, "max_tokens_per_doc": None}),
        "null_top_n": ("/v1/rerank", {"query": "q", "documents": ["d"], "top_n": None}),
        "unknown_field": ("/v1/score", {**pair, "no_such_field": 1}),
        "unknown_route": ("/v1/no_such_route", {}),
    }
    shapes = {}
    for name, (route, body) in requests_by_name.items():
        answer = requests.post(f"{url}{route}", json=body, timeout=300)
        shapes[name] = f"{answer.status_code} {_shape(answer)}".strip()
    return shapes


def _shape(answer: requests.Response) -> str:
    """Where the message is: error.message, error, message or detail. Nothing for a good one."""
    if answer.status_code == 200:
        return ""
    try:
        body = answer.json()
    except ValueError:
        return "text"
    if not isinstance(body, dict):
        return type(body).__name__
    if isinstance(body.get("error"), dict):
        return "error.message"
    return next((name for name in ("error", "detail", "message") if name in body), "other")
