"""Packs a group into one sequence: the shared head once, then every document after it.

The documents do not see each other (attention mask) and each continues the head's positions, so
the result equals separate prompts at about half the computation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from . import prompt
from .groups import Group

LONGEST_HEAD_TOKENS = 256
LONGEST_TAIL_TOKENS = 720


@dataclass(frozen=True)
class Packed:
    """Token ids, positions, which part each token belongs to (0 is the head), ends of documents."""

    ids: list[int]
    positions: list[int]
    parts: list[int]
    ends: list[int]
    grades: list[int]


def pack(group: Group, tokenizer: Tokenizer) -> Packed | None:
    """The group as one sequence, or None if a text is longer than training allows."""
    texts = [prompt.head(group.query, group.instruction), *map(prompt.tail, group.documents)]
    encoded = [item.ids for item in tokenizer.encode_batch(texts)]
    head, tails = encoded[0], encoded[1:]
    if len(head) > LONGEST_HEAD_TOKENS or max(map(len, tails)) > LONGEST_TAIL_TOKENS:
        return None
    ids, positions, parts, ends = list(head), list(range(len(head))), [0] * len(head), []
    for number, tail in enumerate(tails, start=1):
        ids += tail
        positions += range(len(head), len(head) + len(tail))
        parts += [number] * len(tail)
        ends.append(len(ids) - 1)
    return Packed(ids, positions, parts, ends, group.grades)


def differences(
    model: Qwen3ForCausalLM, packed: list[Packed], yes: int, no: int
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """For each group the yes-minus-no logits of its documents; and all last hidden states."""
    longest = max(len(item.ids) for item in packed)
    shape = (len(packed), longest)
    ids = torch.zeros(shape, dtype=torch.long)
    positions = torch.zeros(shape, dtype=torch.long)
    parts = torch.full(shape, -1)
    for row, item in enumerate(packed):
        length = len(item.ids)
        ids[row, :length] = torch.tensor(item.ids)
        positions[row, :length] = torch.tensor(item.positions)
        parts[row, :length] = torch.tensor(item.parts)
    earlier = torch.ones(longest, longest, dtype=torch.bool).tril()
    same = (parts[:, :, None] == parts[:, None, :]) | (parts[:, None, :] == 0)
    hidden_from = ~(earlier & same)[:, None]
    mask = torch.zeros(hidden_from.shape).masked_fill_(hidden_from, -1e9)
    hidden = model.model(
        input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
    ).last_hidden_state
    ends = torch.cat([hidden[row, item.ends] for row, item in enumerate(packed)]).float()
    weight = model.lm_head.weight
    logits = ends @ (weight[yes] - weight[no]).float()
    return list(logits.split([len(item.ends) for item in packed])), ends
