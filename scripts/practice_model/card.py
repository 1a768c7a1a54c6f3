"""Writes evaluation.json, the model card and the licence notices of the trained model."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import zipfile
from pathlib import Path

import babel
import numpy
import scipy
import tokenizers
import torch
import transformers

from . import archives, evaluation
from .texts import DATA_FOLDER, Texts
from .training import Plan

CARD_START = """\
---
license: apache-2.0
language: [zh, en]
library_name: transformers
pipeline_tag: text-ranking
---
# Practice model

A tiny reranker with the architecture, prompt and scoring of Qwen3-Reranker, made so that the free
notebooks can talk to a real server on a laptop. It was trained from nothing on two CPU cores.
**Its answers are real, its judgement is not that of Qwen3-Reranker**: never take its ranking
quality, its speed or its memory for the real model's.
"""


def data_fingerprint() -> str:
    """One SHA-256 over the project's own training files."""
    digest = hashlib.sha256()
    for path in sorted(DATA_FOLDER.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(DATA_FOLDER).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def training_facts(plan: Plan, done: dict, data: Texts, parameters: int) -> dict:
    """What was trained, on what, with which versions."""
    by_source: dict[str, dict[str, int]] = {}
    counted = {
        "messages": data.train_messages,
        "names": data.names,
        "docstrings": data.docstrings,
    }
    for kind, items in counted.items():
        for item in items:
            row = by_source.setdefault(item.source, {})
            row[kind] = row.get(kind, 0) + 1
    return {
        "plan": vars(plan),
        "parameters": parameters,
        "done": done,
        "texts": data.counts,
        "third_party": by_source,
        "own_files_sha256": data_fingerprint(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "numpy": numpy.__version__,
            "scipy": scipy.__version__,
            "babel": babel.__version__,
        },
    }


def table(header: list[str], rows: list[list]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def tables(figures: dict) -> str:
    """The measured figures as Markdown."""
    rankings = [
        [
            name,
            row["model"]["groups"],
            f"{row['model']['mrr_at_10']:.3f} / {row['model']['top_1']:.3f}",
            f"{row['bm25']['mrr_at_10']:.3f} / {row['bm25']['top_1']:.3f}",
            f"{row['model']['mean_score_right']:.2f} / {row['model']['mean_score_wrong']:.2f}",
        ]
        for name, row in figures["rankings"].items()
    ]
    header = ["held-out set", "groups", "MRR@10 / top-1", "BM25", "mean score right / wrong"]
    parts = [table(header, rankings)]
    followed = [
        [
            name,
            row["groups"],
            f"{row['wanted_before_other_form']:.3f}",
            f"{row['wanted_on_top']:.3f}",
            f"{row['both_forms_before_irrelevant']:.3f}",
        ]
        for name, row in figures["instructions"].items()
    ]
    header = [
        "instruction",
        "groups",
        "wanted form before the other form",
        "wanted form on top",
        "both forms before all irrelevant",
    ]
    parts.append(table(header, followed))
    sanity = figures["sanity"]
    failed = "; ".join(sanity["failures"]) or "none"
    parts.append(
        f"Course-like samples (practice_data/sanity.json): the best document comes first in "
        f"{sanity['best_first']} of {sanity['samples']}. Failures: {failed}."
    )
    return "\n\n".join(parts)


def aim_sentence(figures: dict) -> str:
    """On which of the sets that the aim was set for it was reached."""
    reached, missed = [], []
    for name, row in figures["rankings"].items():
        if name.startswith(evaluation.AIMED_AT) and name.endswith(", random negatives"):
            good = row["model"]["top_1"] >= evaluation.AIM_TOP_1
            (reached if good else missed).append(name.removesuffix(", random negatives"))
    met, not_met = "; ".join(reached) or "none", "; ".join(missed) or "none"
    return f"reached on: {met}. **Missed** on: {not_met}."


def learnt_sentence(figures: dict) -> str:
    """Which instructions are followed in wordings never trained on."""
    learnt, not_learnt = [], []
    for name, row in figures["instructions"].items():
        aim, kind = name.rsplit(", ", 1)
        if kind == "new wordings":
            good = row["wanted_on_top"] >= evaluation.LEARNT_SHARE
            (learnt if good else not_learnt).append(aim)
    return f"learnt: {'; '.join(learnt) or 'none'}. Not learnt: {'; '.join(not_learnt) or 'none'}."


def own_files_table() -> str:
    """The project's own training files, with their number of lines."""
    rows = []
    for path in sorted(DATA_FOLDER.rglob("*")):
        if path.is_file():
            lines = len(path.read_text(encoding="utf-8").splitlines())
            rows.append(
                [f"scripts/practice_data/{path.relative_to(DATA_FOLDER).as_posix()}", lines]
            )
    return table(["own file", "lines"], rows)


def third_party_table(counts: dict[str, dict[str, int]]) -> str:
    """Every third-party source with version, licence and what was used of it."""
    rows = []
    for archive in archives.ARCHIVES:
        used = ", ".join(f"{n} {kind}" for kind, n in counts.get(archive.project, {}).items())
        rows.append([archive.project, archive.version, archive.licence, archive.file_name, used])
    cldr = ", ".join(f"{n} {kind}" for kind, n in counts.get("Unicode CLDR", {}).items())
    rows.append(["Unicode CLDR", f"Babel {babel.__version__}", "Unicode-3.0", "(Babel)", cldr])
    name = "Python standard library"
    docstrings = ", ".join(f"{n} {kind}" for kind, n in counts.get(name, {}).items())
    rows.append([name, platform.python_version(), "PSF-2.0", "(the running Python)", docstrings])
    return table(["source", "version", "licence", "file", "used for training"], rows)


def card_text(figures: dict) -> str:
    """The whole model card."""
    facts = figures["training"]
    plan, done, counts = facts["plan"], facts["done"], facts["texts"]
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    return f"""{CARD_START}
## Use

Serve it as the real model is served: `--runner pooling`, `--hf-overrides` with
`Qwen3ForSequenceClassification`, `classifier_from_token` `["no", "yes"]` and
`is_original_qwen3_reranker`, and this project's chat template. At most 4096 tokens per pair.
The tokenizer is lossless (byte-level BPE, single Chinese characters) and carries all special
tokens of the real model under the same names; their ids differ.

## Figures

Measured on the test split: {counts["test_searches"]} searches, {counts["test_concepts"]}
paraphrases and {counts["test_messages"]} messages. Each group is one right and nine wrong
documents; guessing gives top-1 0.100.
`python scripts/train_practice_model.py --evaluate` measures again.

**Held out:** every query, passage and message of the test and validation splits, and the
course-like samples. None was trained on. The test split served no choice; the validation split
and the samples were looked at while choosing the recipe. **Not held out:
words.** The dictionary (glossary, topics, names of the concepts) covers everyday words of both
languages, those of the test texts among them. The same writers wrote training and held-out
texts and knew what the course is about: expect less on other text.

{tables(figures)}

- *Searches*: a short query as people type it; the answer uses ordinary words for the thing. In one
  language BM25 finds most of them, so these sets show that the model does not lose what word
  matching finds; across languages BM25 has nothing to match.
- *Paraphrases*: the hard sets. The query was written to share few or no words with its answer, and
  the answer often does not name the thing at all. That takes knowledge of the world, which a model
  of this size, trained from nothing, hardly has.
- *Keywords*: the rarest words of the passage. *Passages*: the same passage in the other language.
  *Messages*: those of programs. *Long documents*: searches whose answer stands among
  {evaluation.FILLER_PASSAGES} unrelated passages, in every document.
- "Hard" negatives are the passages most like the query by BM25; with documents in the other
  language, those most like the same query in that language.

The aim was a top-1 of {evaluation.AIM_TOP_1:.2f} on searches, keywords and messages with random
negatives: {aim_sentence(figures)}

Instructions were not trained: in an earlier run a tenth of the training groups asked for Chinese,
for English or for code, and none was learnt. An instruction would count as learnt where the wanted
form is on top in at least {evaluation.LEARNT_SHARE:.2f} of the groups: {learnt_sentence(figures)}

Do not use the score as a threshold. Do not demonstrate negation, or an instruction that is not
named as learnt.

## Training

{done["steps"]} steps of {done["groups"] // done["steps"]} groups, {done["tokens"]:,} tokens,
{done["minutes"]} minutes on a shared two-core machine ({plan["threads"]} thread), seed
{plan["seed"]}, learning rate {plan["learning_rate"]} (embeddings
{plan["embedding_learning_rate"]}), averaged weights; matrix products in bfloat16, all else in fp32.
{facts["parameters"]:,} parameters, shipped in bfloat16. Versions: {versions}.

First weights are placed by hand (scripts/practice_model/circuits.py), first token vectors are
singular vectors of co-occurrence counts; then groups of one right and several wrong documents.

Reproducible: data, split, tokenizer, groups and their order follow from the seed and the pinned
archives. Weights repeat only on the same machine with the same versions and number of threads;
elsewhere sums are added in another order and the weights come out differently; one seed was run,
so how much the figures vary is not known. Docstrings of the standard library depend on the Python
version. Nothing was ablated: no single part can be credited with the result.

{table(["texts", "count"], [[name, n] for name, n in counts.items()])}

## Sources and licences

Only the sources below were used. Licence notices: NOTICE.

{own_files_table()}

{third_party_table(facts["third_party"])}
"""


def notice_text() -> str:
    """The licence texts of everything that was learnt from."""
    parts = [
        "The practice model was trained, among the project's own texts, on messages, names and\n"
        "docstrings of the following works. Their text is not contained in the model's files as\n"
        "such; their notices are given here all the same.\n"
    ]
    for archive in archives.ARCHIVES:
        with zipfile.ZipFile(archives.fetch(archive)) as zipped:
            text = zipped.read(archive.licence_file).decode("utf-8").strip()
        parts.append(f"{'=' * 78}\n{archive.project} {archive.version}\n\n{text}\n")
    parts.append(f"{'=' * 78}\nUnicode CLDR, through Babel and emoji\n\n{unicode_licence()}\n")
    parts.append(
        f"{'=' * 78}\nPython {platform.python_version()} standard library\n\n{python_licence()}\n"
    )
    return "\n".join(parts)


def unicode_licence() -> str:
    """The Unicode licence as Babel ships it beside its data."""
    return (Path(babel.__file__).parent / "locale-data" / "LICENSE.unicode").read_text("utf-8")


def python_licence() -> str:
    """The copyright lines and where the licence stands."""
    return f"{sys.copyright}\n\nLicensed under the Python Software Foundation License Version 2."


def write(folder: Path, figures: dict) -> None:
    """evaluation.json, README.md and NOTICE into the model's folder."""
    content = json.dumps(figures, ensure_ascii=False, indent=1) + "\n"
    (folder / "evaluation.json").write_text(content, encoding="utf-8")
    (folder / "README.md").write_text(card_text(figures), encoding="utf-8")
    (folder / "NOTICE").write_text(notice_text(), encoding="utf-8")
