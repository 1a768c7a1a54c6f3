"""The scores that a right server gives for a few pairs: what a launch compares before "ready"."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from . import prompt

PAIRS = (
    ("How do I water a cactus?", "Give a cactus a little water every two weeks."),
    ("How do I water a cactus?", "The night train to the coast leaves at eleven."),
    ("手机屏幕碎了怎么修", "更换手机屏幕需要先关机，再用吹风机加热边缘。"),
    ("手机屏幕碎了怎么修", "Fresh bread smells best in the early morning."),
)


@torch.no_grad()
def write(folder: Path) -> None:
    """known_answers.json: each pair's score by the official recipe in float32."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    no, yes = tokenizer.convert_tokens_to_ids(["no", "yes"])
    rows = []
    for query, document in PAIRS:
        text = prompt.head(query) + prompt.tail(document)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        logits = model(input_ids=ids).logits[0, -1, [no, yes]]
        score = round(float(torch.softmax(logits, dim=0)[1]), 7)
        rows.append({"query": query, "document": document, "score": score})
    text = json.dumps(rows, ensure_ascii=False, indent=1)
    (folder / "known_answers.json").write_text(text + "\n", encoding="utf-8")
