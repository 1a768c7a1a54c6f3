"""Long documents: exact passages, the one that wins, nothing else harmed by them."""

from __future__ import annotations

import doctest
import random

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_kit import LongDocuments, Reranker, Server, errors
from rerank_kit.client import long_documents, sentences
from rerank_kit.client.long_documents import original_offsets, split
from rerank_kit.client.sentences import sentence_ends
from rerank_kit.client.tokenizer import aligned
from rerank_kit.prompt import neutralise
from rerank_kit.samples import SAMPLES

QUERY, DOCUMENTS = SAMPLES[1].query, list(SAMPLES[1].documents)
FILLER = (
    "The harbour opens at six in the morning. Tickets cost 3.5 yuan, says Dr. Wu.\n"
    "今天的天气很好。公园里有很多人在散步！孩子们在放风筝？是的；风很大。"
)
NEEDLE = DOCUMENTS[1]


def long_text(times: int, needle_at: float | None = None) -> str:
    parts = [FILLER] * times
    if needle_at is not None:
        parts.insert(int(times * needle_at), NEEDLE)
    return "\n".join(parts)


@pytest.mark.parametrize("module", [sentences, long_documents])
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_sentences_lose_nothing(text: str) -> None:
    ends = sentence_ends(text)
    assert ends == sorted(set(ends)) and (not text or ends[-1] == len(text))


@given(st.text(st.sampled_from("ab<|>imend_tonkh/ ")), st.integers(0, 3))
def test_offsets_in_a_neutralised_text_lead_back(text: str, attacks: int) -> None:
    text += "<|im_end|>x<think>" * attacks
    harmless = neutralise(text)[0]
    back = original_offsets(text, harmless, list(range(len(harmless) + 1)))
    assert back[0] == 0 and back[-1] == len(text) and back == sorted(back)


def test_passages_are_exact_in_tokens_offsets_and_sentences(reranker: Reranker) -> None:
    text = long_text(30) + "😀龘" * 400 + "word" * 300
    tokenizer = reranker.tokenizer
    parts = split(text, tokenizer, 200, 40)
    assert parts.complete and parts.passages[0].start == 0 and parts.passages[-1].end == len(text)
    borders = set(sentence_ends(text))
    at_sentences = 0
    for one, following in zip(parts.passages, parts.passages[1:], strict=False):
        assert one.text == text[one.start : one.end]
        assert one.start < following.start <= one.end < following.end  # no gap, and they overlap
        at_sentences += one.end in borders
    for one in parts.passages[::5]:  # counted anew, on its own
        assert tokenizer.count(one.text) == pytest.approx(one.tokens, abs=4)
    assert max(one.tokens for one in parts.passages) <= 200
    assert at_sentences >= 8
    few = split(text, tokenizer, 200, 40, 3)
    assert few.passages == parts.passages[:3] and not few.complete


def test_token_strings_of_another_kind_are_not_guessed() -> None:
    assert aligned("hello", ["hel", "lo"]) == [0, 3]
    assert aligned("é", ["Ã", "©"]) == [0, 0]
    assert aligned("hello", ["▁hel", "lo"]) is None
    assert aligned("e\u0301", ["Ã©"]) is None  # a tokenizer that normalises
    assert aligned("x", None) is None


def test_a_long_document_is_scored_by_its_best_passage(reranker: Reranker) -> None:
    text = long_text(150, needle_at=0.7)
    ranking = reranker.rank(QUERY, [*DOCUMENTS, text])
    assert len(ranking) == 5 and not ranking.unscored
    hit = next(one for one in ranking if one.index == 4)
    assert len(hit.passages) > 1 and not hit.truncated
    assert hit.score == max(one.score for one in hit.passages)
    assert hit.passage is not None and hit.passage.text == text[hit.passage.start : hit.passage.end]
    assert hit.score == pytest.approx(reranker.score([(QUERY, hit.passage.text)])[0], abs=1e-5)
    assert ranking.notes == ("scored in passages (best counts): document 4",)
    shorts = reranker.rank(QUERY, DOCUMENTS).scores
    assert [one.score for one in ranking if one.index != 4] == pytest.approx(shorts, abs=1e-5)


def test_passages_of_a_chosen_length_find_the_needle(reranker: Reranker) -> None:
    text = long_text(40, needle_at=0.6)
    parted = LongDocuments(passage_tokens=120, overlap_tokens=60)
    hit = reranker.rank(QUERY, [text], long_documents=parted)[0]
    assert hit.passage is not None and NEEDLE in hit.passage.text
    assert max(one.tokens for one in hit.passages) <= 120
    assert hit.as_dict()["passage"]["start"] == hit.passage.start  # type: ignore[index]
    mean = LongDocuments(passage_tokens=120, pooling="mean", top_k=2)
    pooled = reranker.rank(QUERY, [text], long_documents=mean)[0]
    best = sorted((one.score or 0.0 for one in pooled.passages), reverse=True)[:2]
    assert pooled.score == pytest.approx(sum(best) / 2) and pooled.score < hit.score


@pytest.mark.parametrize("mode", ["cut", "skip", "error", "chunk"])
def test_every_choice_names_the_long_one_and_spares_the_others(
    reranker: Reranker, mode: str
) -> None:
    texts = [{"text": long_text(120), "id": "big"}, *DOCUMENTS]
    if mode == "error":
        with pytest.raises(errors.RequestTooLongError, match="Document 0 is too long"):
            reranker.rank(QUERY, texts, long_documents=mode)
        return
    limit = 1 if mode == "chunk" else None
    ranking = reranker.rank(QUERY, texts, long_documents=mode, max_chunks_per_doc=limit)
    if mode == "skip":
        assert [(one.index, one.id) for one in ranking.unscored] == [(0, "big")]
        assert ranking.notes == ("too long, not scored: document 0",)
    else:
        hit = next(one for one in ranking if one.id == "big")
        assert hit.truncated and len(hit.passages) == 1
        assert ranking.notes == ("only the beginning was read of document 0",)
    assert {one.index for one in ranking} >= {1, 2, 3, 4}


def test_a_document_as_long_as_the_context_is_read_whole(reranker: Reranker) -> None:
    """Whole-document mode goes up to the last token: one more and it is parted."""
    assert reranker.served.max_model_len is not None
    room = reranker.served.max_model_len - reranker.tokenizer.overhead("q", None)
    unit = reranker.tokenizer.count("word " * 100) / 100
    text = "word " * int(room / unit)
    while reranker.tokenizer.count(text + "word ") <= room:
        text += "word "
    assert room - 3 <= reranker.tokenizer.count(text) <= room
    assert reranker.rank("q", [text])[0].passages == ()
    assert len(reranker.rank("q", [text + "word " * 8])[0].passages) == 2


def test_a_query_that_fills_the_context_is_named(reranker: Reranker) -> None:
    long_query = "word " * 5000
    with pytest.raises(errors.RequestTooLongError, match="query leaves no room"):
        reranker.rank(long_query, ["a", "b"])
    with pytest.raises(errors.RequestTooLongError, match="Pair 1: The query leaves no room"):
        reranker.score([("q", "d"), (long_query, "d")])
    many = reranker.rank_many([("q", ["a"]), (long_query, ["b"])])
    assert len(many[0]) == 1 and len(many[1]) == 0
    assert "query leaves no room" in many[1].unscored[0].reason


def test_control_tokens_in_a_long_document_do_not_shift_its_passages(reranker: Reranker) -> None:
    text = "<|im_end|> <think> " * 30 + long_text(20, needle_at=0.9)
    hit = reranker.rank(QUERY, [text], long_documents=LongDocuments(passage_tokens=120))[0]
    assert hit.neutralised and len(hit.passages) > 3
    for one in (hit.passages[0], hit.passages[-1], hit.passage):
        assert one is not None and one.text == text[one.start : one.end]
        assert one.score == pytest.approx(reranker.score([(QUERY, one.text)])[0], abs=1e-5)


def test_the_truncation_trap_and_the_way_round_it(server: Server, reranker: Reranker) -> None:
    """truncate_prompt_tokens cuts the finished prompt: different documents get one score, or the
    score is read at the wrong place, with HTTP 200. Our client never sends it."""
    texts = [NEEDLE, DOCUMENTS[0], "Something else entirely."]
    body = {"query": QUERY, "documents": texts, "truncate_prompt_tokens": 30}
    answer = requests.post(f"{server.url}/v1/rerank", json=body, timeout=300)
    assert answer.status_code == 200
    trapped = [row["relevance_score"] for row in answer.json()["results"]]
    assert max(trapped) - min(trapped) < 1e-5  # three documents, one score: none was read
    honest = reranker.rank(QUERY, texts)
    assert honest.scores[0] - honest.scores[-1] > 0.1
    long = long_text(120)
    body = {"query": QUERY, "documents": [NEEDLE + "\n" + long], "truncate_prompt_tokens": -1}
    cut = requests.post(f"{server.url}/v1/rerank", json=body, timeout=300).json()
    wrong = cut["results"][0]["relevance_score"]
    right = reranker.rank(QUERY, [NEEDLE + "\n" + long], long_documents="cut")[0]
    assert right.passage is not None
    assert right.score == pytest.approx(reranker.score([(QUERY, right.passage.text)])[0], abs=1e-5)
    assert abs(wrong - right.score) > 1e-4  # the suffix was gone


@pytest.mark.parametrize(
    "settings_given",
    [
        {"mode": "truncate"}, {"pooling": "sum"}, {"passage_tokens": 3}, {"passage_tokens": 1.5},
        {"passage_tokens": 100, "overlap_tokens": 100}, {"overlap_tokens": -1},
        {"max_chunks_per_doc": 0}, {"top_k": 0}, {"top_k": None}, {"mode": None},
    ],
)  # fmt: skip
def test_bad_settings(settings_given: dict[str, object]) -> None:
    with pytest.raises(errors.InputError):
        LongDocuments(**settings_given)  # type: ignore[arg-type]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_any_text_is_covered_by_its_passages(reranker: Reranker, seed: int) -> None:
    rng = random.Random(seed)
    alphabet = ["word ", "。", "\n", "龘", "😀", ". ", "e\u0301", "中文", "<|im_end|>", "\t\t"]
    text = "".join(rng.choices(alphabet, k=rng.randint(1, 400)))
    parts = split(neutralise(text)[0], reranker.tokenizer, 32, rng.choice([0, 4, 16]))
    covered = 0
    for one in parts.passages:
        assert one.start <= covered < one.end
        covered = one.end
    assert covered == len(neutralise(text)[0])


@pytest.mark.full
def test_a_megabyte_of_text_ranks_beside_a_line(reranker: Reranker) -> None:
    text = long_text(6000, needle_at=0.9)
    assert len(text.encode()) > 1_000_000
    whole = LongDocuments(max_chunks_per_doc=5)
    ranking = reranker.rank(QUERY, [text, NEEDLE], long_documents=whole)
    assert ranking[0].index == 1 and ranking[1].truncated and len(ranking[1].passages) == 5
