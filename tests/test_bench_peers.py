"""The comparison with other engines is fair: all of them read the same prompts with the same
weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bench_peers import best_of, table, worker_texts, workload_of
from official_recipe import OfficialRecipe
from peers_models import convert

from rerank_kit import models, prompt
from rerank_kit.tuning.texts import LocalTokenizer

PRACTICE = models.practice_model_dir()


@pytest.mark.parametrize("length", ["128", "512"])
def test_every_peer_reads_the_official_prompt_of_the_stated_length(length: str) -> None:
    texts = worker_texts(length, PRACTICE)
    request = workload_of(length, PRACTICE, 128).request(0)
    tokenizer = LocalTokenizer(PRACTICE)
    for (beginning, document), given in zip(texts["pairs"], request.documents, strict=True):
        whole = texts["prefix"] + beginning + document + texts["suffix"]
        assert whole == prompt.render(request.query, given, None)
        assert abs(len(tokenizer.borders(whole)) - int(length)) <= 5


def test_the_shared_beginning_is_as_long_as_with_the_real_tokenizer() -> None:
    """About 64 tokens and the query: counted by hand for Qwen's vocabulary."""
    texts = worker_texts("128", PRACTICE)
    tokenizer = LocalTokenizer(PRACTICE)
    shared = len(tokenizer.borders(texts["prefix"] + texts["pairs"][0][0]))
    query = len(tokenizer.borders(workload_of("128", PRACTICE, 1).queries[0]))
    assert 61 <= shared - query <= 70


def test_the_converted_checkpoint_scores_as_the_published_one(
    oracle: OfficialRecipe, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    convert(PRACTICE, tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    for query, document in (("water a cactus", "Every two weeks."), ("猫", "狗在睡觉")):
        text = prompt.render(query, document, None)
        ids = oracle.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            found = torch.sigmoid(model.eval()(input_ids=ids).logits[0, 0])
        assert float(found) == pytest.approx(oracle.score(query, document), abs=0.02)


def test_the_table_gives_ratios_of_the_best_batches() -> None:
    results = {
        "0.6B all limit": {"gflops_per_second": 400.0},
        "0.6B 128 vllm": [{"batch": 1, "pairs_per_second": 1.0},
                          {"batch": 8, "pairs_per_second": 2.0}],
        "0.6B 128 ours": [{"batch": 32, "pairs_per_second": 6.0, "tokens_per_pair": 128.0,
                           "cached_share": 0.5}],
    }  # fmt: skip
    assert best_of(results["0.6B 128 vllm"])["batch"] == 8
    said = table(results, "0.6B", ["128"], models.facts_of("0.6B"))
    assert "3.00x" in said and "1.00x" in said and "64" in said
