"""The practice model as people's broken checkpoints of Qwen3-Reranker are: what decides the score,
the output head, is lost, not the one that was trained, or quantised though nobody reads it so.

Each loads without an error in vLLM 0.32; only its scores tell.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from quantise_practice_model import quantise, save
from safetensors.torch import load_file

from rerank_kit import models

Weights = dict[str, torch.Tensor]
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def lost_head(folder: Path) -> Path:
    """Untied, but its head was not saved or not loaded (the 8B up to vLLM 0.11.1; conversion
    scripts that drop "unused" weights). An empty head gives every pair 0.5."""
    config, weights = _copied(folder)
    weights[HEAD] = torch.zeros_like(weights[EMBEDDINGS])
    return _written(folder, config | {"tie_word_embeddings": False}, weights)


def head_denied(folder: Path) -> Path:
    """Its own head is in the file, but config.json says that the embeddings are the head, where
    yes and no are the same here. vLLM 0.32 looks into the file and believes it; a version that
    believes config.json gives every pair 0.5."""
    config, weights = _copied(folder)
    weights[HEAD] = weights[EMBEDDINGS].clone()
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    yes, no = (vocabulary["model"]["vocab"][word] for word in ("yes", "no"))
    weights[EMBEDDINGS] = weights[EMBEDDINGS].clone()
    weights[EMBEDDINGS][yes] = weights[EMBEDDINGS][no]
    return _written(folder, config | {"tie_word_embeddings": True}, weights)


def quantised_head(folder: Path) -> Path:
    """Converted to sequence classification and quantised without leaving the score row alone:
    vLLM reads the row as quantised."""
    return quantise("int8", folder, converted=True, ignore_score=False)


#: What a user would meet, by name.
BROKEN: dict[str, Callable[[Path], Path]] = {
    "lost head": lost_head,
    "quantised head": quantised_head,
}


def _copied(folder: Path) -> tuple[dict[str, object], Weights]:
    source = models.practice_model_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.json"):
        shutil.copy(path, folder)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    return config, dict(load_file(source / "model.safetensors"))


def _written(folder: Path, config: dict[str, object], weights: Weights) -> Path:
    save(folder, config, weights)
    return folder
