"""One peer of bench_peers.py, in that peer's own environment: load, warm up, time each batch size.

    python peers_worker.py PEER MODEL TEXTS.json BATCHES SECONDS

Prints one JSON line for each batch size. It imports nothing of this project: other Pythons run it.
TEXTS.json: {"prefix": ..., "suffix": ..., "pairs": [[shared beginning, document], ...]}; the
prompt of a pair is prefix + beginning + document + suffix.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Score = Callable[[list[list[str]]], list[float]]


def transformers_recipe(folder: str, texts: dict[str, Any]) -> Score:
    """The official sample of the Qwen3-Reranker model cards, in bfloat16: left padding, prefix and
    suffix as tokens around the pair, log-softmax over "no" and "yes" at the last position."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    no, yes = (tokenizer.convert_tokens_to_ids(word) for word in ("no", "yes"))
    before = tokenizer.encode(texts["prefix"], add_special_tokens=False)
    after = tokenizer.encode(texts["suffix"], add_special_tokens=False)

    @torch.no_grad()
    def score(pairs: list[list[str]]) -> list[float]:
        inputs = tokenizer(
            ["".join(pair) for pair in pairs], padding=False, truncation="longest_first",
            return_attention_mask=False, max_length=8192 - len(before) - len(after),
        )  # fmt: skip
        inputs["input_ids"] = [before + ids + after for ids in inputs["input_ids"]]
        inputs = tokenizer.pad(inputs, padding=True, return_tensors="pt", max_length=8192)
        logits = model(**inputs).logits[:, -1, :]
        two = torch.stack([logits[:, no], logits[:, yes]], dim=1)
        return torch.nn.functional.log_softmax(two, dim=1)[:, 1].exp().tolist()

    return score


def cross_encoder(folder: str, texts: dict[str, Any]) -> Score:
    """sentence-transformers with the converted checkpoint, prompts joined as its card says."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(folder, device="cpu", model_kwargs={"dtype": torch.bfloat16})

    def score(pairs: list[list[str]]) -> list[float]:
        whole = [
            (texts["prefix"] + beginning, document + texts["suffix"])
            for beginning, document in pairs
        ]
        return model.predict(whole, batch_size=len(whole), show_progress_bar=False).tolist()

    return score


def infinity(folder: str, texts: dict[str, Any]) -> Score:
    """infinity-emb's own engine (the part behind its server) with the converted checkpoint."""
    import asyncio

    from infinity_emb import AsyncEngineArray, EngineArgs

    arguments = {"engine": "torch", "device": "cpu", "dtype": "bfloat16", "lengths_via_tokenize":
                 False, "bettertransformer": False, "model_warmup": False}  # fmt: skip
    loop = asyncio.new_event_loop()
    # Its batch size is for its life.
    asked = EngineArgs(model_name_or_path=folder, batch_size=texts["batch"], **arguments)
    engine = AsyncEngineArray.from_args([asked])[0]
    loop.run_until_complete(engine.astart())

    def score(pairs: list[list[str]]) -> list[float]:
        async def ask() -> list[float]:
            # one call has one query; its documents carry what else differs
            found, _ = await engine.rerank(
                query=texts["prefix"] + pairs[0][0],
                docs=[document + texts["suffix"] for _, document in pairs],
            )
            by_place = {one.index: one.relevance_score for one in found}
            return [by_place[place] for place in range(len(pairs))]

        return loop.run_until_complete(ask())

    return score


PEERS = {"transformers": transformers_recipe, "cross_encoder": cross_encoder, "infinity": infinity}


def main() -> None:
    peer, folder, path, batches, seconds = sys.argv[1:6]
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with open(path, encoding="utf-8") as file:
        texts = json.load(file)
    sizes = [int(one) for one in batches.split(",")]
    texts["batch"] = max(sizes)
    score = PEERS[peer](folder, texts)
    pairs = texts["pairs"]
    first = score(pairs[:1])  # loads what is loaded late
    for size in sizes:
        score(pairs[:size])
        place, done, started = size, 0, time.perf_counter()
        while time.perf_counter() - started < float(seconds):
            batch = [pairs[(place + offset) % len(pairs)] for offset in range(size)]
            score(batch)
            place, done = place + size, done + size
        spent = time.perf_counter() - started
        row = {"batch": size, "pairs": done, "pairs_per_second": done / spent,
               "score": float(first[0])}  # fmt: skip
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # infinity's threads would be waited for, and never end
