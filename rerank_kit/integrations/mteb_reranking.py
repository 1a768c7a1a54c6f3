"""MTEB's reranking tasks through a served model, and one's own labelled texts as such a task.

    model = ServedReranker(Reranker())
    mteb.evaluate(model, mteb.get_tasks(["T2Reranking"]), cache=None)      # downloads the task
    mteb.evaluate(model, own_task(shipped("shop"), Bm25(...), depth=20), cache=None)

mteb decides what is measured; the server scores with its own template, in its own precision.
Needs pip install "rerank-kit[mteb,search]", which brings torch. Run alone: as a table for a
shipped corpus,

    python -m rerank_kit.integrations.mteb_reranking --corpus-name shop [--url URL] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mteb
import numpy
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta

from rerank_kit.client import Reranker
from rerank_kit.search.labelled import Labelled, shipped
from rerank_kit.search.recall import Bm25, Recall

#: What is printed of mteb's many measures.
PRINTED = ("ndcg_at_10", "map_at_10", "mrr_at_10", "recall_at_10")


class ServedReranker:
    """What mteb asks of a cross-encoder, answered by a reranking server.

    instruction: for every pair; None is the official default. raw_scores: logits, which part
    documents whose probabilities are all 1.000 (trec_eval breaks ties by document id).
    """

    def __init__(
        self, reranker: Reranker, instruction: str | None = None, *, raw_scores: bool = True
    ) -> None:
        self.reranker, self.instruction, self.raw_scores = reranker, instruction, raw_scores
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": f"served/{reranker.model.rsplit('/', 1)[-1]}", "revision": "http",
                "model_type": ["cross-encoder"],
            }
        )  # fmt: skip

    def predict(self, inputs1: Iterable[dict], inputs2: Iterable[dict], **_: Any) -> numpy.ndarray:
        """Scores for parallel batches of queries and documents."""
        queries = [text for batch in inputs1 for text in batch["text"]]
        documents = [text for batch in inputs2 for text in batch["text"]]
        pairs = list(zip(queries, documents, strict=True))
        return numpy.array(
            self.reranker.score(
                pairs, self.instruction, raw_scores=self.raw_scores, progress=False
            )
        )


def own_task(labelled: Labelled, recall: Recall, depth: int = 50) -> AbsTaskRetrieval:
    """A reranking task in mteb's format: for each query the depth candidates of recall. A query
    for which recall finds nothing is left out, as mteb has no empty lists."""
    candidates = {
        query.id: [recall.documents[place].id for place in recall.find(query.text, depth)]
        for query in labelled.queries
    }
    kept = [query for query in labelled.queries if candidates[query.id]]
    # Title and text are joined here as everywhere in this package; mteb would use a space.
    corpus = [{"id": one.id, "title": "", "text": one.whole} for one in labelled.documents]
    split = {
        "queries": Dataset.from_list([{"id": query.id, "text": query.text} for query in kept]),
        "corpus": Dataset.from_list(corpus),
        "relevant_docs": {query.id: dict(query.grades) for query in kept},
        "top_ranked": {query.id: candidates[query.id] for query in kept},
    }
    described = TaskMetadata(
        name="OwnReranking", description=labelled.name, type="Reranking", category="t2t",
        modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn", "zho-Hans"],
        main_score="ndcg_at_10", dataset={"path": "none", "revision": "none"}, reference=None,
        date=None, domains=None, task_subtypes=None, license=None, annotations_creators=None,
        dialect=None, sample_creation=None, bibtex_citation=None,
    )  # fmt: skip

    class OwnTask(AbsTaskRetrieval):
        metadata = described  # of the class: mteb empties the instance when it unloads a task

        def load_data(self, *_: Any, **__: Any) -> None:
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return OwnTask()


def evaluate(reranker: Reranker, task: AbsTaskRetrieval) -> dict[str, float]:
    """mteb's scores of a task: {measure: value}."""
    (result,) = mteb.evaluate(ServedReranker(reranker), task, cache=None).task_results
    return {name: float(result.scores["test"][0][name]) for name in PRINTED}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus-name", default="shop", metavar="NAME")
    parser.add_argument("--depth", type=int, default=50, metavar="N")
    parser.add_argument("--url", help="the reranker (default: RERANK_URL, else ours)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    labelled, reranker = shipped(options.corpus_name), Reranker(options.url)
    task = own_task(labelled, Bm25(labelled.documents), options.depth)
    scores = evaluate(reranker, task)
    facts = {"mteb": mteb.__version__, "corpus": labelled.name, "model": reranker.model,
             "depth": options.depth, "scores": scores}  # fmt: skip
    print(f"mteb {mteb.__version__}, {labelled.name}, BM25 depth {options.depth}, model "
          f"{reranker.model}")  # fmt: skip
    for name, value in scores.items():
        print(f"{name:14}{value:.4f}")
    if options.json:
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
