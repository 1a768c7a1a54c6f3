"""The models that bench_peers.py compares with: as published, and converted to what others read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import check_memory_plan

from rerank_kit import models


def model_folders(shape: str, work: Path) -> tuple[Path, Path]:
    """(as published, converted to sequence classification) of one shape."""
    if shape == "practice":
        folder = models.practice_model_dir()
    else:
        folder = work / "model-0.6B"
        if not (folder / "model.safetensors").exists():
            folder.mkdir(parents=True, exist_ok=True)
            check_memory_plan.write_model(check_memory_plan.SHAPES[0], folder)
            _random_weights(folder)
    converted = work / f"model-{shape}-converted"
    if not (converted / "model.safetensors").exists():
        convert(folder, converted)
    return folder, converted


def _random_weights(folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


def convert(folder: Path, target: Path) -> None:
    """The published checkpoint as a classifier of one label: the head is the row of "yes" less
    that of "no", so that its sigmoid is the official score."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    target.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    no, yes = (tokenizer.convert_tokens_to_ids(word) for word in ("no", "yes"))
    causal = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    config = causal.config
    config.num_labels, config.pad_token_id = 1, tokenizer.convert_tokens_to_ids("<|endoftext|>")
    made = AutoModelForSequenceClassification.from_config(config, dtype=torch.bfloat16)
    made.model = causal.model
    head = causal.get_output_embeddings().weight
    with torch.no_grad():
        made.score.weight.copy_((head[yes].float() - head[no].float())[None])
    made.save_pretrained(target)
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.save_pretrained(target)
    make_readable_for_transformers_4(target)


def make_readable_for_transformers_4(folder: Path) -> None:
    """infinity-emb brings transformers 4, which does not know the names that 5 writes. Without
    rope_theta it would take 10,000 and score otherwise, in silence."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"rope_theta": config["rope_parameters"]["rope_theta"], "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    words = json.loads((folder / "tokenizer_config.json").read_text())
    words["tokenizer_class"] = "PreTrainedTokenizerFast"
    words["additional_special_tokens"] = words.pop("extra_special_tokens", [])
    (folder / "tokenizer_config.json").write_text(json.dumps(words, indent=2) + "\n")
