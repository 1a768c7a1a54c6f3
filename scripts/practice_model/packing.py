"""Packs groups so that no token is computed twice: system turn, then query, then each document.

All prompts of a step begin alike and all documents of a group follow the same query. So each such
stretch is computed once, and what follows it attends to it: the result equals separate prompts at
about a third of the computation. Layer by layer this repeats what Transformers' Qwen3 does
(tests/test_practice_model.py compares the two), in bfloat16 if asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from . import prompt
from .groups import Group

LONGEST_HEAD_TOKENS = 256
LONGEST_TAIL_TOKENS = 720
TOLERATED_PADDING = 1.3


@dataclass(frozen=True)
class Packed:
    """Token ids of a group: from the instruction to the marker of the document, then documents."""

    head: list[int]
    tails: list[list[int]]
    grades: list[int]

    @property
    def tokens(self) -> int:
        """How many tokens are computed for this group."""
        return len(self.head) + sum(map(len, self.tails))


def pack(group: Group, tokenizer: Tokenizer) -> Packed | None:
    """The group's token ids, or None if a text is longer than training allows."""
    head = prompt.head(group.query, group.instruction).removeprefix(prompt.PREFIX)
    encoded = tokenizer.encode_batch([head, *map(prompt.tail, group.documents)])
    first, *tails = (item.ids for item in encoded)
    if len(first) > LONGEST_HEAD_TOKENS or max(map(len, tails)) > LONGEST_TAIL_TOKENS:
        return None
    return Packed(first, tails, group.grades)


def padded(starts: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions in the flat token list, one row per stretch, and which of them are real."""
    steps = torch.arange(int(lengths.max()))
    real = steps < lengths[:, None]
    return torch.where(real, starts[:, None] + steps, starts[:, None]), real


@dataclass(frozen=True)
class Stretch:
    """Rows of tokens that attend to earlier tokens (`before`) and, causally, to themselves."""

    rows: torch.Tensor
    real: torch.Tensor
    before: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def make(cls, rows, real, before, before_real, kind) -> Stretch:
        """The mask is zero where a token may look, and far below elsewhere."""
        count, length = rows.shape
        own = torch.ones(length, length, dtype=torch.bool).tril().expand(count, -1, -1)
        earlier = before_real[:, None, :].expand(count, length, -1)
        seen = torch.cat([earlier, own], dim=2)
        bias = torch.zeros(seen.shape, dtype=kind)
        return cls(rows, real, before, bias.masked_fill_(~seen, -1e4)[:, None, None])


def buckets(lengths: torch.Tensor) -> list[torch.Tensor]:
    """Documents of like length together."""
    order = torch.argsort(lengths, descending=True)
    parts, start = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[start]] > TOLERATED_PADDING * lengths[order[end]]:
            parts.append(order[start:end])
            start = end
    return parts


class Layout:
    """Where every token of a step lies, and what it attends to."""

    def __init__(self, packed: list[Packed], prefix: list[int], kind: torch.dtype) -> None:
        heads = [item.head for item in packed]
        tails = [tail for item in packed for tail in item.tails]
        owner = torch.tensor([i for i, item in enumerate(packed) for _ in item.tails])
        head_lengths = torch.tensor([len(head) for head in heads])
        tail_lengths = torch.tensor([len(tail) for tail in tails])
        self.ids = torch.tensor([*prefix, *sum(heads, []), *sum(tails, [])])
        lengths = torch.cat([torch.tensor([len(prefix)]), head_lengths, tail_lengths])
        starts = torch.cumsum(lengths, 0) - lengths
        first_positions = torch.cat(
            [
                torch.zeros(1, dtype=torch.long),
                torch.full_like(head_lengths, len(prefix)),
                len(prefix) + head_lengths[owner],
            ]
        )
        within = torch.arange(len(self.ids)) - torch.repeat_interleave(starts, lengths)
        self.positions = torch.repeat_interleave(first_positions, lengths) + within
        head_rows, head_real = padded(starts[1 : 1 + len(heads)], head_lengths)
        tail_starts = starts[1 + len(heads) :]
        shared = torch.arange(len(prefix))
        nothing = torch.zeros(1, 0, dtype=torch.long)
        self.stretches = [
            Stretch.make(shared[None], shared[None] >= 0, nothing, nothing.bool(), kind),
            Stretch.make(head_rows, head_real, *self._before(shared, len(heads)), kind),
        ]
        for chosen in buckets(tail_lengths):
            rows, real = padded(tail_starts[chosen], tail_lengths[chosen])
            before, before_real = self._before(shared, len(chosen))
            before = torch.cat([before, head_rows[owner[chosen]]], dim=1)
            before_real = torch.cat([before_real, head_real[owner[chosen]]], dim=1)
            self.stretches.append(Stretch.make(rows, real, before, before_real, kind))
        real = torch.cat([stretch.rows[stretch.real] for stretch in self.stretches])
        self.back = torch.argsort(real)
        self.ends = tail_starts + tail_lengths - 1

    @staticmethod
    def _before(shared: torch.Tensor, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        return shared.expand(rows, -1), torch.ones(rows, len(shared), dtype=torch.bool)

    def attend(self, query, key, value) -> torch.Tensor:
        """Attention for all tokens; (tokens, heads, size) each, key and value with fewer heads.

        Written out, because PyTorch's fused kernel takes three times as long backward on a CPU.
        """
        size, groups = query.shape[2], key.shape[1]
        query = query.unflatten(1, (groups, -1)) * size**-0.5
        found = []
        for stretch in self.stretches:
            looked_at = torch.cat([stretch.before, stretch.rows], dim=1)
            keys, values = (x[looked_at].transpose(1, 2) for x in (key, value))
            asking = query[stretch.rows].permute(0, 2, 3, 1, 4)  # rows, groups, heads, tokens, size
            likeness = (asking.flatten(2, 3) @ keys.mT).unflatten(2, asking.shape[2:4])
            weights = (likeness + stretch.mask).softmax(dim=-1)
            result = (weights.flatten(2, 3) @ values).unflatten(2, asking.shape[2:4])
            result = result.permute(0, 3, 1, 2, 4)
            found.append(result[stretch.real].flatten(1))
        return torch.cat(found)[self.back]


def rotated(vectors: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding."""
    half = vectors.shape[-1] // 2
    turned = torch.cat([-vectors[..., half:], vectors[..., :half]], dim=-1)
    return vectors * cosine + turned * sine


def last_hidden(model: Qwen3ForCausalLM, layout: Layout, kind: torch.dtype) -> torch.Tensor:
    """The final hidden states of all tokens; matrix products in the given type."""
    config, body = model.config, model.model

    def linear(values: torch.Tensor, module) -> torch.Tensor:
        return functional.linear(values, module.weight.to(kind))

    def norm(values: torch.Tensor, module) -> torch.Tensor:
        return functional.rms_norm(
            values, (values.shape[-1],), module.weight.to(values.dtype), config.rms_norm_eps
        )

    stream = functional.embedding(layout.ids, body.embed_tokens.weight)
    cosine, sine = body.rotary_emb(stream[None], layout.positions[None])
    cosine, sine = cosine[0][:, None].to(kind), sine[0][:, None].to(kind)
    tokens = len(layout.ids)
    for layer in body.layers:
        attention, mlp = layer.self_attn, layer.mlp
        values = norm(stream, layer.input_layernorm).to(kind)
        query, key, value = (
            linear(values, module).view(tokens, -1, config.head_dim)
            for module in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query = rotated(norm(query, attention.q_norm), cosine, sine)
        key = rotated(norm(key, attention.k_norm), cosine, sine)
        mixed = layout.attend(query, key, value).reshape(tokens, -1)
        stream = stream + linear(mixed, attention.o_proj)
        values = norm(stream, layer.post_attention_layernorm).to(kind)
        gated = functional.silu(linear(values, mlp.gate_proj)) * linear(values, mlp.up_proj)
        stream = stream + linear(gated, mlp.down_proj)
    return norm(stream[layout.ends], body.norm)


def differences(
    model: Qwen3ForCausalLM,
    packed: list[Packed],
    tokenizer: Tokenizer,
    kind: torch.dtype = torch.float32,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """For each group the yes-minus-no logits of its documents; and all last hidden states."""
    yes, no = tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")
    layout = Layout(packed, tokenizer.encode(prompt.PREFIX).ids, kind)
    ends = last_hidden(model, layout, kind).float()
    weight = model.lm_head.weight
    logits = ends @ (weight[yes] - weight[no])
    return list(logits.split([len(item.tails) for item in packed])), ends
