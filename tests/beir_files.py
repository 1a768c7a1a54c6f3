"""A handful of documents, and files of labels in the form of BEIR."""

from __future__ import annotations

import json
from pathlib import Path

from rerank_kit.search import Document

DOCUMENTS = [
    Document("cactus", "Water a cactus every two weeks."),
    Document("redis", "Redis 连接超时：先检查连接池配置。"),
    Document("database", "数据库升级之后要重建索引", "数据库升级手册"),
    Document("cake", "Bake the cake for thirty minutes."),
]


def write_beir(folder: Path, queries: int = 3) -> list[str]:
    folder.mkdir(exist_ok=True)
    corpus = [{"_id": d.id, "title": d.title, "text": d.text} for d in DOCUMENTS]
    asked = [
        {"_id": "1", "text": "how often should I water a cactus"},
        {"_id": "2", "text": "连接超时怎么办"},
        {"_id": "3", "text": "cake in the oven"},
    ][:queries]
    for name, rows in (("corpus", corpus), ("queries", asked)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n1\tcactus\t1\n2\tredis\t2\n3\tcake\t1\n", encoding="utf-8"
    )
    names = ("corpus", "queries")
    words = [word for n in names for word in (f"--{n}", str(folder / f"{n}.jsonl"))]
    return [*words, "--qrels", str(folder / "qrels.tsv")]
