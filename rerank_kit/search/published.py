"""What the makers of the real models publish about them: quoted, with its source.

Other texts, other candidates, other measures than ours: never put these into one table with
figures measured here.
"""

from __future__ import annotations

from typing import Any

from rerank_kit.memory.show import aligned

SOURCE = "https://github.com/QwenLM/Qwen3-Embedding (README, section Reranker)"
VERSION = "commit f4ad0c4, 13 June 2025"
CONDITIONS = (
    "the authors' own runs; each reranker orders the top 100 that Qwen3-Embedding-0.6B found, "
    "which is the first row; retrieval subsets of MTEB (English v2, Chinese v1, multilingual, "
    "code), MLDR and FollowIR; not measured or checked by rerank_kit"
)
COLUMNS = ("MTEB-R", "CMTEB-R", "MMTEB-R", "MLDR", "MTEB-Code", "FollowIR")
SCORES = {
    "Qwen3-Embedding-0.6B, not reranked": (61.82, 71.02, 64.64, 50.26, 75.41, 5.09),
    "jina-multilingual-reranker-v2-base": (58.22, 63.37, 63.73, 39.66, 58.98, -0.68),
    "gte-multilingual-reranker-base": (59.51, 74.08, 59.44, 66.33, 54.18, -1.64),
    "bge-reranker-v2-m3": (57.03, 72.16, 58.36, 59.51, 41.38, -0.01),
    "Qwen3-Reranker-0.6B": (65.80, 71.31, 66.36, 67.28, 73.42, 5.41),
    "Qwen3-Reranker-4B": (69.76, 75.94, 72.74, 69.97, 81.20, 14.84),
    "Qwen3-Reranker-8B": (69.02, 77.45, 72.94, 70.19, 81.22, 8.05),
}
#: What a reader who chooses a size should not miss in the table.
REMARKS = (
    "0.6B is below its own first stage on code (MTEB-Code).",
    "8B is not above 4B everywhere: MTEB-R and FollowIR.",
)


def text() -> str:
    """The table with its source and conditions."""
    rows = [["", *COLUMNS]]
    rows += [[model, *(f"{score:.2f}" for score in scores)] for model, scores in SCORES.items()]
    return "\n".join([
        "Published by the models' authors; nothing here was measured by rerank_kit.",
        f"source: {SOURCE}, {VERSION}", f"conditions: {CONDITIONS}", "",
        *aligned(rows, numbers=range(1, 7)), "", *REMARKS,
    ])  # fmt: skip


def as_dict() -> dict[str, Any]:
    """The same for --json."""
    return {
        "published_by": "the models' authors", "source": SOURCE, "version": VERSION,
        "conditions": CONDITIONS,
        "scores": {model: dict(zip(COLUMNS, row, strict=True)) for model, row in SCORES.items()},
        "remarks": list(REMARKS),
    }  # fmt: skip
