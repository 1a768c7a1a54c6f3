"""mteb: an in-memory reranking task, scored through the served model (offline)."""

import importlib.metadata
import json
import math
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import mteb
import numpy
from common import DOCUMENTS, MODEL, QUERY, expected, post
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta


class ServedReranker:
    """What mteb asks of a cross-encoder: predict() on parallel batches of pairs."""

    mteb_model_meta = ModelMeta.create_empty(
        overwrites={
            "name": "rerank_kit/served", "revision": "http", "model_type": ["cross-encoder"],
        }
    )  # fmt: skip

    def predict(self, inputs1: object, inputs2: object, **_: object) -> numpy.ndarray:
        queries = [text for batch in inputs1 for text in batch["text"]]
        documents = [text for batch in inputs2 for text in batch["text"]]
        answer = post("/v1/score", {"model": MODEL, "queries": queries, "documents": documents})
        rows = sorted(answer["data"], key=lambda row: row["index"])
        return numpy.array([row["score"] for row in rows])


class Task(AbsTaskRetrieval):
    metadata = TaskMetadata(
        name="OwnReranking", description="four documents, one query", type="Reranking",
        category="t2t", modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"],
        main_score="ndcg_at_10", dataset={"path": "none", "revision": "none"},
        reference=None, date=None, domains=None, task_subtypes=None, license=None,
        annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation=None,
    )  # fmt: skip

    def load_data(self, num_proc: int | None = None, **_: object) -> None:
        corpus = [
            {"id": f"d{place}", "title": "", "text": text} for place, text in enumerate(DOCUMENTS)
        ]
        self.dataset = {
            "default": {
                "test": {
                    "queries": Dataset.from_list([{"id": "q", "text": QUERY}]),
                    "corpus": Dataset.from_list(corpus),
                    "relevant_docs": {"q": {"d1": 1}},
                    "top_ranked": {"q": [one["id"] for one in corpus]},
                }
            }
        }
        self.data_loaded = True


found = mteb.evaluate(ServedReranker(), Task(), cache=None).task_results[0]
score = found.scores["test"][0]["ndcg_at_10"]
line = {"library": "mteb", "version": importlib.metadata.version("mteb"), "way": "cross-encoder"}
place = [index for index, _ in expected()].index(1) + 1  # of the relevant document, counted from 1
good = abs(score - 1 / math.log2(place + 1)) < 1e-3  # nDCG of one relevant document
line["result"] = "ok" if good else f"wrong: nDCG@10 is {score}, a plain request puts it at {place}"
print(json.dumps(line))
