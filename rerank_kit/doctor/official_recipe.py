"""The official recipe of the Qwen3-Embedding repository, run with transformers in float32.

    python official_recipe.py MODEL_DIR < prompts.json        (a JSON list of finished prompts)

Prints a JSON list of scores. It is its own process: nothing else of the kit imports torch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def float32_bytes(folder: Path) -> int:
    """Bytes of the weights in float32 (published files hold 16 bits a value)."""
    files = list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
    return 2 * sum(path.stat().st_size for path in files)


def main(folder: str) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    logit_of = _head(folder, tokenizer)
    scores = []
    with torch.no_grad():
        for text in json.load(sys.stdin):
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            scores.append(float(torch.sigmoid(logit_of(ids))))
    print(json.dumps(scores))


def _head(folder: str, tokenizer: Any) -> Callable[[Any], Any]:
    """Token ids -> the logit of yes minus that of no, at the last position. Its sigmoid is the
    softmax over {no, yes}. A converted checkpoint has that difference as its own head."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    if "Qwen3ForSequenceClassification" in (config.get("architectures") or []):
        converted = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, num_labels=1
        ).eval()
        converted.config.pad_token_id = None  # one text at a time: the last token is the last
        return lambda ids: converted(input_ids=ids).logits[0, 0]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    no_id, yes_id = (tokenizer.convert_tokens_to_ids(token) for token in ("no", "yes"))
    head = model.get_output_embeddings().weight
    row = head[yes_id] - head[no_id]
    return lambda ids: model.model(input_ids=ids).last_hidden_state[0, -1] @ row


if __name__ == "__main__":
    main(sys.argv[1])
