"""Tiny random models in the architectures of other rerankers, and their own recipes' scores."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    XLMRobertaConfig,
)

from rerank_kit.models import facts_of, practice_model_dir

#: That of the practice model, whose tokenizer they all use.
VOCABULARY = facts_of("practice").vocabulary


def _tokenizer(folder: Path, *, joins_pairs: bool) -> None:
    """The practice model's tokenizer; with separators around a pair, as encoders have them."""
    made = Tokenizer.from_file(str(practice_model_dir() / "tokenizer.json"))
    start, end = "<|im_start|>", "<|im_end|>"
    if joins_pairs:
        made.post_processor = TemplateProcessing(
            single=f"{start} $A {end}",
            pair=f"{start} $A {end} {end} $B {end}",
            special_tokens=[(one, made.token_to_id(one)) for one in (start, end)],
        )
    PreTrainedTokenizerFast(
        tokenizer_object=made, cls_token=start, sep_token=end, eos_token=end,
        pad_token="<|endoftext|>", model_max_length=8192,
    ).save_pretrained(folder)  # fmt: skip


@torch.no_grad()
def bge_reranker_v2_m3(folder: Path, query: str, documents: tuple[str, ...]) -> list[float]:
    """Make it; return the scores of its own recipe."""
    torch.manual_seed(1)
    config = XLMRobertaConfig(
        vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=128, max_position_embeddings=8194, type_vocab_size=1, num_labels=1,
        pad_token_id=1, initializer_range=0.2,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(folder)
    _tokenizer(folder, joins_pairs=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores = []
    for document in documents:
        ids = tokenizer(query, document, return_tensors="pt").input_ids
        assert config.pad_token_id not in ids
        scores.append(float(torch.sigmoid(model(input_ids=ids).logits[0, 0])))
    return scores


@torch.no_grad()
def mxbai_rerank_base_v2(
    folder: Path, query: str, documents: tuple[str, ...], prompt: str
) -> list[float]:
    """Make it; return the scores of its own recipe."""
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=128, max_position_embeddings=4096,
        initializer_range=0.2, tie_word_embeddings=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    _tokenizer(folder, joins_pairs=False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    answers = tokenizer.convert_tokens_to_ids(["0", "1"])
    scores = []
    for document in documents:
        text = prompt.format(query=query, document=document)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        logits = model(input_ids=ids).logits[0, -1, answers].float()
        scores.append(float(torch.softmax(logits, dim=0)[1]))
    return scores
