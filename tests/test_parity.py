"""The live server scores like the official recipe, to the last digit that float32 has."""

from __future__ import annotations

import random
from itertools import groupby
from pathlib import Path

import pytest
import requests
from fuzzed_pairs import PAIRS, Triple, fuzzed_triples
from official_recipe import OfficialRecipe

from rerank_kit import Reranker, Server, launch
from rerank_kit.prompt import chat_template_path, neutralise, render

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def triples() -> list[Triple]:
    return fuzzed_triples()


@pytest.fixture(scope="module")
def official(triples: list[Triple], oracle: OfficialRecipe) -> list[float]:
    """What the recipe says. It gets the neutralised texts, as the model does."""
    return [
        oracle.score(
            neutralise(t.query)[0], neutralise(t.document)[0], neutralise(t.instruction or "")[0]
        )
        for t in triples
    ]


def _by_instruction(triples: list[Triple]) -> dict[str | None, list[int]]:
    order = sorted(range(len(triples)), key=lambda i: str(triples[i].instruction))
    return {
        wording: list(places)
        for wording, places in groupby(order, key=lambda i: triples[i].instruction)
    }


@pytest.mark.slow
def test_every_fuzzed_pair_agrees_in_batches(
    reranker: Reranker, triples: list[Triple], official: list[float]
) -> None:
    assert len(triples) == PAIRS >= 300
    worst = (0.0, -1)
    for wording, places in _by_instruction(triples).items():
        pairs = [(triples[i].query, triples[i].document) for i in places]
        for place, score in zip(places, reranker.score(pairs, wording), strict=True):
            worst = max(worst, (abs(score - official[place]), place))
    assert worst[0] <= TOLERANCE, triples[worst[1]]


@pytest.mark.slow
def test_alone_and_straight_to_the_server_it_is_the_same(
    server: Server, triples: list[Triple], official: list[float]
) -> None:
    """One pair a request, past our client, as curl or another library would send it."""
    for place in random.Random(1).sample(range(len(triples)), 40):
        triple = triples[place]
        body = {"query": triple.query, "documents": [triple.document]}
        if triple.instruction is not None:
            body["instruction"] = triple.instruction
        answer = requests.post(f"{server.url}/v1/rerank", json=body, timeout=60).json()
        score = answer["results"][0]["relevance_score"]
        assert abs(score - official[place]) <= TOLERANCE, triple


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 300])
def test_one_and_three_hundred_documents_for_one_query(
    reranker: Reranker, oracle: OfficialRecipe, count: int
) -> None:
    documents = [f"note {i}: the warranty of part {i * 7} ends in {2026 + i}" for i in range(count)]
    ranking = reranker.rank("when does the warranty end", documents)
    assert len(ranking) == count
    for document in list(ranking)[:20]:
        expected = oracle.score("when does the warranty end", documents[document.index])
        assert abs(document.score - expected) <= TOLERANCE


def test_the_server_reads_exactly_the_prompt_that_render_makes(
    server: Server, triples: list[Triple]
) -> None:
    for triple in triples[:60]:
        extra = {"chat_template_kwargs": {"instruction": triple.instruction}}
        messages = [
            {"role": "query", "content": triple.query},
            {"role": "document", "content": triple.document},
        ]
        body = {"messages": messages, **(extra if triple.instruction is not None else {})}
        seen = requests.post(f"{server.url}/tokenize", json=body, timeout=60).json()
        prompt = render(triple.query, triple.document, triple.instruction)
        plain = {"prompt": prompt, "add_special_tokens": False}
        wanted = requests.post(f"{server.url}/tokenize", json=plain, timeout=60).json()
        assert seen["tokens"] == wanted["tokens"], triple


def test_the_template_file_ends_with_one_newline_more_than_the_prompt() -> None:
    """Story: vLLM's own example template is one newline short; editors make ours so, too."""
    data = chat_template_path().read_bytes()
    assert data.endswith(b"</think>\n\n\n") and not data.endswith(b"\n\n\n\n")
    assert b"\r" not in data and data.isascii()


@pytest.mark.full
def test_a_template_one_newline_short_is_wrong_and_is_refused(
    own_state: Path, tmp_path: Path, oracle: OfficialRecipe
) -> None:
    """The form of vLLM's own example: it must show in the scores, and launch must notice."""
    short = tmp_path / "short.jinja"
    short.write_bytes(chat_template_path().read_bytes()[:-1])
    flags = ("--chat-template", str(short))
    with launch("practice", extra_args=flags, score_check=False) as wrong:
        triples = [t for t in fuzzed_triples()[:120] if t.instruction is None]
        scores = wrong.reranker().score([(t.query, t.document) for t in triples])
        drift = [
            abs(s - oracle.score(neutralise(t.query)[0], neutralise(t.document)[0]))
            for s, t in zip(scores, triples, strict=True)
        ]
        assert max(drift) > 100 * TOLERANCE
        assert sum(d > TOLERANCE for d in drift) > 0.9 * len(drift)
        from rerank_kit.errors import LaunchError

        with pytest.raises(LaunchError, match="scores are wrong"):
            launch("practice", extra_args=flags)
