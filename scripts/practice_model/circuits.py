"""Builds the model and places first weights that rank before any training.

With ordinary first weights the training of a model this small finds nothing in the time we have.
So four small mechanisms are written in by hand, and training improves on them:

layer 0: every token learns whether it stands in the query or in the document, by looking back at
         the last marker ("<Query" or "<Document"); another head adds a trace of the previous token,
         so that two neighbouring Chinese characters can be told from the same two apart;
layer 1: every document token looks for similar tokens in the query and notes how much it found;
layer 2: the last token collects these notes and turns them into "yes" against "no".
The last layer starts almost empty and is free for training.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM

from . import prompt

HIDDEN = 192
LAYERS = 4
FEED_FORWARD = 448
QUERY_HEADS = 4
KEY_VALUE_HEADS = 2
HEAD = 64
ROPE_THETA = 1e6
LONGEST_PROMPT_TOKENS = 4096
RESERVED_DIRECTIONS = 8
PREVIOUS_TOKEN_TRACE = 0.07
CONSTANT_SIZE = 0.35
OWN_SHARE = (0.9, 0.12)
FAVOUR_FOR_QUERY = 0.9
FAST = 0.03
SUMMARY_SIZE = 46
SUMMARY_STRENGTH = 0.4
EVENNESS = 1.0
COMPARISON_STRENGTH = 1.3
COMPARISON_THRESHOLD = 2.2
QUIET = 0.03
RARE_TOKENS_COUNT_MORE = 0.6
MATCHES_COUNT_MORE = 0.3
FIRST_LEVEL = -0.3
VECTOR_DIMENSIONS = 183


def build_model(tokenizer: Tokenizer) -> Qwen3ForCausalLM:
    """An untrained model of the practice size."""
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=QUERY_HEADS,
        num_key_value_heads=KEY_VALUE_HEADS,
        head_dim=HEAD,
        max_position_embeddings=LONGEST_PROMPT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
    )
    return Qwen3ForCausalLM(config)


@dataclass(frozen=True)
class Directions:
    """Reserved directions of the residual stream, and the projection on all others."""

    constant: torch.Tensor
    query_marker: torch.Tensor
    document_marker: torch.Tensor
    rare: torch.Tensor
    in_query: torch.Tensor
    in_document: torch.Tensor
    matched: torch.Tensor
    relevant: torch.Tensor
    outside: torch.Tensor
    mix: torch.Tensor

    def strongest(self, count: int) -> torch.Tensor:
        """The directions that carry most meaning; the very first only tells common from rare."""
        return self.mix[1 : count + 1] @ self.outside


@dataclass(frozen=True)
class Summary:
    """How a mean of meanings is squeezed into a head (down) and laid into the stream (of_...)."""

    down: torch.Tensor
    of_query: torch.Tensor
    of_document: torch.Tensor

    @classmethod
    def make(cls, to: Directions) -> Summary:
        """The strongest directions of meaning, laid where little else is."""
        down = to.strongest(SUMMARY_SIZE)
        ups, _ = torch.linalg.qr(to.outside @ torch.randn(HIDDEN, 2 * SUMMARY_SIZE))
        return cls(down, ups[:, :SUMMARY_SIZE], ups[:, SUMMARY_SIZE:])


def unit(vector: torch.Tensor) -> torch.Tensor:
    """The vector at length one."""
    return vector / vector.norm(dim=-1, keepdim=True).clamp_min(1e-6)


def first_embeddings(vectors: np.ndarray, mix: torch.Tensor) -> torch.Tensor:
    """Meaning (shared by the forms of a word), plus a part of its own for every token."""
    content = torch.zeros(len(vectors), HIDDEN)
    content[:, : vectors.shape[1]] = torch.tensor(vectors)
    own = unit(torch.randn(len(vectors), HIDDEN))
    return OWN_SHARE[0] * content @ mix + OWN_SHARE[1] * own


def rarity(frequency: np.ndarray, tokenizer: Tokenizer) -> torch.Tensor:
    """From -1 for the commonest tokens, punctuation and markup to +1 for rare words."""
    logarithm = np.log(frequency + 1.0)
    middle, top = np.quantile(logarithm[frequency > 0], [0.5, 0.995])
    values = np.clip((middle - logarithm) / (top - middle), -1, 1) * 0.8 + 0.2
    for token_id in range(len(values)):
        text = tokenizer.decode([token_id], skip_special_tokens=False)
        if not any(character.isalnum() for character in text) or re.fullmatch("<.*>", text):
            values[token_id] = -1.0
    return torch.tensor(values, dtype=torch.float32)[:, None]


def rotary_frequencies() -> torch.Tensor:
    """Radians per position of each rotary pair, for both halves of a head."""
    single = ROPE_THETA ** (-torch.arange(HEAD // 2) / (HEAD / 2))
    return torch.cat([single, single])


def previous_token_vectors() -> tuple[torch.Tensor, torch.Tensor]:
    """A query and a key direction whose product is largest one position back."""
    frequencies = rotary_frequencies()[: HEAD // 2]
    used = torch.arange(4)
    key = torch.zeros(HEAD)
    key[used] = 1.0
    query = torch.zeros(HEAD)
    query[used] = torch.cos(frequencies[used])
    query[used + HEAD // 2] = -torch.sin(frequencies[used])
    return query, key


def suffix_tokens(tokenizer: Tokenizer) -> set[int]:
    """The tokens after the document: their own meaning would only disturb what they collect."""
    return set(tokenizer.encode(prompt.SUFFIX).ids)


def place_circuits(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, vectors: np.ndarray, frequency: np.ndarray
) -> None:
    """Overwrite the first weights in place, as the module's docstring says."""
    with torch.no_grad():
        reserved, _ = torch.linalg.qr(torch.randn(HIDDEN, RESERVED_DIRECTIONS))
        outside = torch.eye(HIDDEN) - reserved @ reserved.T
        mix, _ = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN))
        directions = Directions(*reserved.T, outside=outside, mix=mix)
        _place_embeddings(model, tokenizer, vectors, frequency, directions)
        _place_layers(model, directions)


def _place_embeddings(model, tokenizer, vectors, frequency, to: Directions) -> None:
    """Meaning in most directions; what the circuits need in the reserved ones."""
    embeddings = model.model.embed_tokens.weight
    embeddings.copy_(first_embeddings(vectors, to.mix) @ to.outside)
    embeddings.add_(CONSTANT_SIZE * (to.constant + rarity(frequency, tokenizer) * to.rare))
    common = CONSTANT_SIZE * (to.constant - to.rare)
    embeddings[tokenizer.token_to_id("<Query")] = to.query_marker + common
    embeddings[tokenizer.token_to_id("<Document")] = to.document_marker + common
    for token_id in suffix_tokens(tokenizer):
        embeddings[token_id] = 0.15 * embeddings[token_id] + 0.85 * common
    last_token = tokenizer.encode("\n\n").ids[0]
    embeddings[last_token] += FIRST_LEVEL * to.relevant
    embeddings[tokenizer.token_to_id("yes")] += 0.7 * to.relevant
    embeddings[tokenizer.token_to_id("no")] -= 0.7 * to.relevant


def _place_layers(model: Qwen3ForCausalLM, to: Directions) -> None:
    """Quieten what is random, then write the circuits over it."""
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.mul_(QUIET)
        layer.mlp.down_proj.weight.mul_(QUIET)
    slow = (rotary_frequencies() < 2e-3).float()
    look = unit(torch.randn(HEAD) * slow)
    weaker = torch.randn(HEAD) * slow
    weaker = unit(weaker - look * (look @ weaker))
    zeroth, first, second = (layer.self_attn for layer in model.model.layers[:3])
    for attention in (zeroth, first, second):
        attention.q_norm.weight.fill_(1.4)
        attention.k_norm.weight.fill_(1.4)
    _place_segments(zeroth, look, weaker, slow, to)
    _place_previous_token(zeroth, to)
    _place_matching(first, look, to)
    summary = Summary.make(to)
    _place_summaries(first, look, weaker, summary, to)
    _place_collection(second, look, slow, to)
    _place_comparison(second, summary, to)


def _noise(slow: torch.Tensor) -> torch.Tensor:
    return torch.randn(HEAD, HIDDEN) * 0.02 * slow[:, None]


def _head_rows(head: int) -> slice:
    return slice(head * HEAD, (head + 1) * HEAD)


def _place_segments(attention, look, weaker, slow, to: Directions) -> None:
    """Query head 0 with key head 0: attend to the last marker, copy which one it is."""
    attention.q_proj.weight[_head_rows(0)] = torch.outer(look, to.constant) + 0.3 * _noise(slow)
    attention.k_proj.weight[_head_rows(0)] = (
        torch.outer(look, to.document_marker)
        + torch.outer(0.6 * look + 0.8 * weaker, to.query_marker)
        + _noise(slow)
    )
    attention.v_proj.weight[0] = 0.1 * to.query_marker
    attention.v_proj.weight[1] = 0.1 * to.document_marker
    attention.o_proj.weight[:, 0] = 0.4 * to.in_query
    attention.o_proj.weight[:, 1] = 0.4 * to.in_document


def _place_previous_token(attention, to: Directions) -> None:
    """Query head 2 with key head 1: copy a turned image of the token before."""
    query, key = previous_token_vectors()
    head = QUERY_HEADS // KEY_VALUE_HEADS
    attention.q_proj.weight[_head_rows(head)] = torch.outer(query, to.constant)
    attention.k_proj.weight[_head_rows(1)] = torch.outer(key, to.constant)
    down = torch.randn(HEAD, HIDDEN) / HIDDEN**0.5 @ to.outside
    up = to.outside @ torch.randn(HIDDEN, HEAD) / HIDDEN**0.5
    attention.v_proj.weight[_head_rows(1)] = down
    attention.o_proj.weight[:, _head_rows(head)] = PREVIOUS_TOKEN_TRACE * up


def _place_matching(attention, look, to: Directions) -> None:
    """Query head 0 with key head 0: equal projections for query and key find like tokens.

    A token is always most like itself, so tokens of the query are favoured, the more the rarer
    the looking token is: an equal rare token there wins over the token itself, a fairly similar
    one draws, an unlike one loses, and common words and punctuation hardly match at all.
    """
    scale = torch.where(rotary_frequencies() > FAST, 0.3, 1.0)
    projection = (torch.randn(HEAD, HIDDEN) / HIDDEN**0.5 * scale[:, None]) @ to.outside
    seeking = FAVOUR_FOR_QUERY * torch.outer(look, to.constant + to.rare)
    sought = FAVOUR_FOR_QUERY * torch.outer(look, to.in_query + RARE_TOKENS_COUNT_MORE * to.rare)
    attention.q_proj.weight[_head_rows(0)] = projection + seeking
    attention.k_proj.weight[_head_rows(0)] = projection + sought
    attention.v_proj.weight[0] = 0.2 * to.in_query
    attention.v_proj.weight[1] = 0.2 * to.in_document
    attention.o_proj.weight[:, 0] = 0.4 * to.matched
    attention.o_proj.weight[:, 1] = -0.2 * to.matched


def _place_summaries(attention, look, weaker, summary: Summary, to: Directions) -> None:
    """Query heads 2 and 3 with key head 1: carry the mean meaning of document and of query.

    Each looks at one segment only, evenly but for this: rare tokens weigh more.
    """
    rare = RARE_TOKENS_COUNT_MORE * to.rare
    attention.q_proj.weight[_head_rows(2)] = torch.outer(look, to.constant)
    attention.q_proj.weight[_head_rows(3)] = torch.outer(weaker, to.constant)
    attention.k_proj.weight[_head_rows(1)] = (
        torch.outer(look, to.in_document + rare)
        + torch.outer(weaker, to.in_query + rare)
        + EVENNESS * torch.outer(torch.roll(look, 1), to.constant)
    )
    attention.v_proj.weight[HEAD : HEAD + SUMMARY_SIZE] = summary.down
    for head, up in ((2, summary.of_document), (3, summary.of_query)):
        attention.o_proj.weight[:, _head_rows(head)].zero_()
        columns = slice(head * HEAD, head * HEAD + SUMMARY_SIZE)
        attention.o_proj.weight[:, columns] = SUMMARY_STRENGTH * up


def _place_collection(attention, look, slow, to: Directions) -> None:
    """Query head 0 with key head 0: the last token gathers the notes of the document's tokens."""
    attention.q_proj.weight[_head_rows(0)] = torch.outer(look, to.constant) + 0.3 * _noise(slow)
    attention.k_proj.weight[_head_rows(0)] = torch.outer(
        look, to.in_document + RARE_TOKENS_COUNT_MORE * to.rare + MATCHES_COUNT_MORE * to.matched
    ) + _noise(slow)
    attention.v_proj.weight[0] = 0.2 * to.matched
    attention.o_proj.weight[:, 0] = to.relevant


def _place_comparison(attention, summary: Summary, to: Directions) -> None:
    """Query head 2 with key head 1: does the document's mean look like the query's mean?

    The attention that tokens with the document's mean get is the answer. The query's own tokens
    compete with them at a fixed level, the threshold.
    """
    still = torch.nonzero(rotary_frequencies() < FAST).flatten()[:SUMMARY_SIZE]
    query, key = torch.zeros(HEAD, HIDDEN), torch.zeros(HEAD, HIDDEN)
    query[still] = summary.of_query.T
    key[still] = summary.of_document.T
    unused = torch.zeros(HEAD)
    unused[int(torch.nonzero(rotary_frequencies() < FAST).flatten()[-1])] = 1.0
    query += COMPARISON_THRESHOLD * torch.outer(unused, to.constant)
    key += 2.0 * torch.outer(unused, to.in_query)
    attention.q_proj.weight[_head_rows(2)] = query
    attention.k_proj.weight[_head_rows(1)] = key
    attention.v_proj.weight[HEAD] = 0.2 * to.in_document
    attention.o_proj.weight[:, 2 * HEAD] = COMPARISON_STRENGTH * to.relevant
