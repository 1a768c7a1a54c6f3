"""Retrains the practice model with one command, or measures the shipped one.

python scripts/train_practice_model.py              # fetch, train, measure, replace the model
python scripts/train_practice_model.py --evaluate   # measure rerank_kit/practice again
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy
import torch
from practice_model import (
    card,
    circuits,
    embeddings,
    evaluation,
    known_answers,
    texts,
    tokenizer,
    training,
)
from tokenizers import Tokenizer

REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED = REPOSITORY / "rerank_kit" / "practice"
WORK = REPOSITORY / ".work" / "practice_model"
THIRD_PARTY = WORK / "third_party.json"
STEPS = 1323
TOLERATED_DIFFERENCE = 0.011


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluate", action="store_true", help="only measure the shipped model")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-ship", action="store_true", help="leave rerank_kit/practice alone")
    parser.add_argument("--name", default="model", help="folder of the result under .work")
    return parser.parse_args()


def save_model(model, folder: Path) -> None:
    """Weights in bfloat16, and a configuration that older Transformers read as well."""
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["rope_theta"] = circuits.ROPE_THETA
    config["torch_dtype"] = "bfloat16"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def measure(folder: Path, data: texts.Texts) -> dict:
    """The figures of the model in a folder on the test split."""
    model = evaluation.load_model(folder)
    scorer = evaluation.Scorer(model, Tokenizer.from_file(str(folder / "tokenizer.json")))
    return evaluation.all_figures(data, "test", scorer)


def prepared(data: texts.Texts) -> tuple[Tokenizer, numpy.ndarray, numpy.ndarray]:
    """The tokenizer and the first token vectors, kept for further runs on the same texts."""
    code = b"".join(Path(module.__file__).read_bytes() for module in (texts, tokenizer, embeddings))
    name = f"{card.data_fingerprint()[:12]}-{hashlib.sha256(code).hexdigest()[:12]}"
    folder = WORK / f"prepared-{name}"
    if not (folder / "vectors.npz").exists():
        trained = tokenizer.train_tokenizer(data)
        tokenizer.save_tokenizer(trained, folder)
        vectors, frequency = embeddings.token_vectors(data, trained, circuits.VECTOR_DIMENSIONS)
        numpy.savez(folder / "vectors.npz", vectors=vectors, frequency=frequency)
    kept = numpy.load(folder / "vectors.npz")
    trained = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return trained, kept["vectors"], kept["frequency"]


def train_all(options: argparse.Namespace, data: texts.Texts) -> Path:
    """Tokenizer, embeddings, first weights, training, figures and card, in a work folder."""
    folder = WORK / options.name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(options.seed)
    trained_tokenizer, vectors, frequency = prepared(data)
    tokenizer.save_tokenizer(trained_tokenizer, folder)
    model = circuits.build_model(trained_tokenizer)
    circuits.place_circuits(model, trained_tokenizer, vectors, frequency)
    plan = training.Plan(steps=options.steps, seed=options.seed, threads=options.threads)
    done = training.train(
        model,
        trained_tokenizer,
        data,
        plan,
        keep=lambda: save_model(model, folder),
        finish=WORK / "finish",
    )
    save_model(model, folder)
    known_answers.write(folder)
    figures = measure(folder, data)
    parameters = sum(weights.numel() for weights in model.parameters())
    figures["training"] = card.training_facts(plan, done, data, parameters)
    card.write(folder, figures)
    return folder


def ship(folder: Path) -> None:
    """Replace the shipped files one by one, each in one step."""
    SHIPPED.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        waiting = SHIPPED / f".{path.name}.new"
        shutil.copyfile(path, waiting)
        waiting.replace(SHIPPED / path.name)


def differing(recorded, measured, place: str = "") -> list[str]:
    """Where two trees of figures differ by more than rounding."""
    if isinstance(recorded, dict):
        keys = sorted(set(recorded) | set(measured))
        pairs = [(f"{place}/{k}", recorded.get(k), measured.get(k)) for k in keys]
        return [line for name, a, b in pairs for line in differing(a, b, name)]
    if isinstance(recorded, (int, float)) and isinstance(measured, (int, float)):
        same = abs(recorded - measured) <= TOLERATED_DIFFERENCE
    else:
        same = recorded == measured
    return [] if same else [f"{place}: recorded {recorded}, measured {measured}"]


def evaluate_shipped(data: texts.Texts) -> int:
    """Measure the shipped model, print the figures, compare with evaluation.json."""
    measured = measure(SHIPPED, data)
    recorded = json.loads((SHIPPED / "evaluation.json").read_text(encoding="utf-8"))
    print(card.tables(measured))
    wrong = differing({name: recorded.get(name) for name in measured}, measured)
    print("\n".join(wrong) or "The figures equal those of evaluation.json.")
    return 1 if wrong else 0


def main() -> int:
    """Run what the command line asks for."""
    options = arguments()
    torch.set_num_threads(options.threads)
    data = texts.load_texts(THIRD_PARTY)
    if options.evaluate:
        return evaluate_shipped(data)
    folder = train_all(options, data)
    if not options.no_ship:
        ship(folder)
    print((folder / "README.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
