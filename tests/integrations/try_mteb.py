"""mteb: a reranking task of one's own texts, scored through the served model (offline). mteb's
nDCG@10 has to be the one that rerank_kit measures for the same candidates."""

import importlib.metadata
import json
import os
import statistics
from dataclasses import replace

os.environ["HF_HUB_OFFLINE"] = "1"

from rerank_kit.client import Reranker
from rerank_kit.integrations.mteb_reranking import evaluate, own_task
from rerank_kit.search import Bm25, Search, shipped
from rerank_kit.search.evaluate import run

DEPTH = 8
labelled = shipped("shop")
labelled = replace(labelled, queries=labelled.queries[:12])
recall = Bm25(labelled.documents)
reranker = Reranker()
found = evaluate(reranker, own_task(labelled, recall, DEPTH))["ndcg_at_10"]
ours = run(labelled, Search(recall, reranker, raw_scores=True), DEPTH)
# mteb leaves out queries without candidates, which count as 0 for us.
answered = [query.id for query in labelled.queries if ours.rankings[query.id]]
expected = statistics.fmean(ours.values[query]["nDCG@10"] for query in answered)
line = {"library": "mteb", "version": importlib.metadata.version("mteb"), "way": "cross-encoder"}
good = abs(found - expected) < 1e-4
line["result"] = "ok" if good else f"wrong: nDCG@10 is {found}, measured by us {expected}"
print(json.dumps(line))
