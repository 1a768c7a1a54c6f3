#!/usr/bin/env python3
"""Make a quantised form of the practice model, in the format of the checkpoints that people
publish, and (with --measure) serve it and compare its scores with the float32 recipe.

    python scripts/quantise_practice_model.py int8 /tmp/practice-int8
    python scripts/quantise_practice_model.py --measure

int8  compressed-tensors W8A8: 8-bit weights per output channel, activations quantised per token
      while serving (what llm-compressor's W8A8 recipe writes).
int4  compressed-tensors W4A16, groups of 64, symmetric, packed (its W4A16 recipe).
awq   AutoAWQ's file format, groups of 64 with zero points.
Weights are rounded to the nearest step; no calibration moves them, so a published checkpoint of
a real model is at least as close to its original.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts"), str(ROOT / "tests")]

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from rerank_kit import models  # noqa: E402

FORMS = ("int8", "int4", "awq")
GROUP = 64  # divides the practice model's 192 and 448 columns; published checkpoints use 128
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
#: Ranked whole, every query with every document, to see what quantising does to results.
CORPUS = "shop"
MEASURED = ("float32", "bfloat16", *FORMS, "int8-converted", "fp8_per_tensor")
#: AutoAWQ's order of eight 4-bit columns inside a 32-bit word (vLLM 0.32, auto_awq.py).
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def quantise(
    form: str, target: Path, *, converted: bool = False, ignore_score: bool = True
) -> Path:
    """Write the checkpoint. converted: as a sequence-classification model with one yes-minus-no
    row instead of the output head. ignore_score: name the score head among the layers left
    alone; vLLM makes it a linear layer, and a checkpoint that forgets it breaks every score."""
    source = models.practice_model_dir()
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.json"):
        shutil.copy(path, target)
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        if name.split(".")[-2] in LINEAR:
            weights |= _quantised(form, name.removesuffix(".weight"), tensor.float())
        else:
            weights[name] = tensor
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    kept = ["lm_head", "score"] if ignore_score else ["lm_head"]
    config["quantization_config"] = _config(form, kept)
    if converted:
        config |= {"architectures": ["Qwen3ForSequenceClassification"], "num_labels": 1}
        weights["score.weight"] = _yes_minus_no(source, weights["model.embed_tokens.weight"])
        weights.pop("lm_head.weight", None)
    save(target, config, weights)
    return target


def save(target: Path, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """The two files that make a checkpoint."""
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    whole = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(whole, target / "model.safetensors", metadata={"format": "pt"})


def _quantised(form: str, layer: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    if form == "int8":
        scale = weight.abs().amax(dim=1, keepdim=True) / 127
        whole = (weight / scale).round().clamp(-127, 127).to(torch.int8)
        return {f"{layer}.weight": whole, f"{layer}.weight_scale": scale}
    groups = weight.unflatten(1, (-1, GROUP))  # rows, groups, columns
    if form == "int4":
        scale = groups.abs().amax(dim=2) / 7
        whole = (groups / scale[..., None]).round().clamp(-8, 7).flatten(1).int()
        return {
            f"{layer}.weight_packed": _pack(whole + 8),
            f"{layer}.weight_scale": scale.bfloat16(),
            f"{layer}.weight_shape": torch.tensor(weight.shape),
        }
    low, high = groups.amin(dim=2).clamp(max=0), groups.amax(dim=2).clamp(min=0)
    scale = (high - low) / 15
    zero = (-low / scale).round().clamp(0, 15)
    whole = (groups / scale[..., None] + zero[..., None]).round().clamp(0, 15).flatten(1).int()
    return {  # AutoAWQ keeps everything transposed: inputs down, outputs across
        f"{layer}.qweight": _pack(_awq_order(whole.t())),
        f"{layer}.qzeros": _pack(_awq_order(zero.int().t())),
        f"{layer}.scales": scale.t().half(),
    }


def _pack(values: torch.Tensor) -> torch.Tensor:
    """Eight 4-bit values of a row to a 32-bit word, the first one lowest."""
    eight = values.long().unflatten(1, (-1, 8))
    words = sum(eight[..., place] << (4 * place) for place in range(8))
    return (words + 2**31).remainder(2**32).sub(2**31).to(torch.int32)


def _awq_order(values: torch.Tensor) -> torch.Tensor:
    return values.unflatten(1, (-1, 8))[..., list(AWQ_ORDER)].flatten(1)


def _yes_minus_no(source: Path, embeddings: torch.Tensor) -> torch.Tensor:
    """The tied head's row of "yes" less that of "no": sigmoid of it is the official score."""
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    yes, no = (tokenizer["model"]["vocab"][word] for word in ("yes", "no"))
    return (embeddings[yes] - embeddings[no]).float()[None]


def _config(form: str, ignore: list[str]) -> dict[str, Any]:
    """quantization_config as llm-compressor and AutoAWQ write it."""
    if form == "awq":
        return {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True,
                "version": "gemm", "modules_to_not_convert": ignore}  # fmt: skip
    weights = {"num_bits": 8 if form == "int8" else 4, "type": "int", "symmetric": True,
               "strategy": "channel" if form == "int8" else "group", "dynamic": False,
               "group_size": None if form == "int8" else GROUP}  # fmt: skip
    activations = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token",
                   "dynamic": True}  # fmt: skip
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized" if form == "int8" else "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ignore,
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": weights,
                "input_activations": activations if form == "int8" else None,
                "output_activations": None,
            }
        },
    }


def measure(names: list[str]) -> list[dict[str, Any]]:
    """Serve each form and compare its scores with the float32 recipe on the original weights:
    on awkward pairs, and as rankings of a corpus that travels with the package."""
    from drift import Drift, RankDrift, corpus_pairs, fuzzed_pairs_and_scores
    from official_recipe import OfficialRecipe

    from rerank_kit import errors, launch
    from rerank_kit.server.readiness import check_scores

    pairs, official = fuzzed_pairs_and_scores()
    recipe = OfficialRecipe(models.practice_model_dir())
    asked, documents = corpus_pairs(CORPUS)
    ranked = [recipe.score(*pair) for pair in asked]
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="quantised-") as folder:
            model, arguments = _served(name, Path(folder))
            row: dict[str, Any] = {"form": name, "megabytes": _megabytes(model)}
            try:
                with launch("practice", model=model, extra_args=arguments, score_check=False,
                            on_progress=lambda progress: None) as server:  # fmt: skip
                    reranker = server.reranker()
                    row |= Drift.of(reranker.score(pairs), official).as_dict()
                    seen = reranker.score(asked)
                    row["corpus"] = RankDrift.of(seen, ranked, documents).as_dict()
                    row["known_answer"] = "right"
                    check_scores(reranker, server.settings)
            except errors.LaunchError as error:
                said = " ".join(str(error).split())[:400].replace(folder, "FOLDER")
                row["known_answer" if "corpus" in row else "failed"] = said
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def _megabytes(model: str) -> float:
    folder = models.practice_model_dir() if model == models.PRACTICE else Path(model)
    return round((folder / "model.safetensors").stat().st_size / 1e6, 2)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = [f"{'form':<16}{'MB':>6}{'largest':>9}{'mean':>9}   {CORPUS}: "
             f"{'largest':>7}{'same first':>12}{'same order':>12}   known answer"]  # fmt: skip
    for row in rows:
        start = f"{row['form']:<16}{row['megabytes']:>6.2f}"
        if "failed" in row:
            lines.append(f"{start}   not served: {row['failed'][:110]}")
            continue
        corpus = row["corpus"]
        lines.append(
            f"{start}{row['largest']:>9.5f}{row['mean']:>9.5f}{corpus['largest']:>16.5f}"
            f"{corpus['same_first']:>12.1%}{corpus['same_order']:>12.2%}   {row['known_answer']}"
        )
    return "\n".join(lines)


def _with_older_rows(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The rows, and those of other forms that the file has."""
    older = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    new = {row["form"]: row for row in older} | {row["form"]: row for row in rows}
    return [new[form] for form in MEASURED if form in new]


def record(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept: the numbers, when, and on what kind of machine (no names)."""
    import importlib.metadata
    import os
    import time

    from rerank_kit import machine

    return {
        "what": "scores of quantised forms of the practice model on vLLM, compared with the "
        "official recipe in float32 on the weights they were made from",
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} x86_64 cores with "
        + ", ".join(sorted({"amx_int8", "avx512_vnni", "avx2"} & machine.cpu_flags())) + ", Linux",
        "versions": {name: importlib.metadata.version(name) for name in
                     (machine.installed_vllm() or ("vllm",))[:1] + ("torch", "compressed-tensors")},
        "corpus": CORPUS,
        "rows": rows,
    }  # fmt: skip


def _served(name: str, folder: Path) -> tuple[str, tuple[str, ...]]:
    """(model, vLLM flags) of one form. FP8 and int8 at load take the original weights."""
    half = ("--dtype", "bfloat16")
    if name == "float32":
        return models.PRACTICE, ()
    if name == "bfloat16":
        return models.PRACTICE, half
    if name.split("-")[0] in FORMS:
        form, _, kind = name.partition("-")
        return str(quantise(form, folder / name, converted=kind == "converted")), half
    return models.PRACTICE, (*half, "--quantization", name)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("form", nargs="?", choices=FORMS)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--converted", action="store_true", help="as sequence classification")
    parser.add_argument("--measure", nargs="*", metavar="FORM", help="serve and compare")
    parser.add_argument("--json", type=Path, help="write the measured rows here")
    options = parser.parse_args()
    if options.measure is not None:
        rows = measure(options.measure or list(MEASURED))
        print(table(rows))
        if options.json:
            rows = _with_older_rows(rows, options.json)
            text = json.dumps(record(rows), indent=1, ensure_ascii=False)
            options.json.write_text(text + "\n", encoding="utf-8")
        return 0
    if not options.form or not options.folder:
        parser.error("name a form and a folder, or --measure")
    print(quantise(options.form, options.folder, converted=options.converted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
