"""What recall + rerank gains over recall alone on the shipped corpora, by both judges' labels.

    python scripts/search_gains.py [--url URL] [--recall everything|bm25] [--json FILE]

Needs a running server (rerank-kit launch). All corpora together give the numbers of queries that a
verdict needs. Scores are logits, which part documents that look alike as probabilities.
--recall everything: the reranker sees every document, and BM25 alone is what it is compared with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rerank_kit import Reranker
from rerank_kit.memory.show import aligned
from rerank_kit.search import Bm25, Everything, Search
from rerank_kit.search.evaluate import MAIN_MEASURE, Comparison, compare, with_labels
from rerank_kit.search.labelled import SHIPPED, read_qrels, second_labels, shipped
from rerank_kit.search.measures import Difference, difference

GROUPS = ("same", "both", "cross")


def values(comparison: Comparison, languages: str | None) -> list[tuple[float, float]]:
    """(before, after) of each query, or of those with this mark."""
    return [
        (comparison.before.values[query.id][MAIN_MEASURE],
         comparison.after.values[query.id][MAIN_MEASURE])
        for query in comparison.labelled.queries
        if languages in (None, query.metadata["languages"])
    ]  # fmt: skip


def together(comparisons: Iterable[Comparison], languages: str | None) -> Difference:
    pairs = [pair for one in comparisons for pair in values(one, languages)]
    return difference([old for old, _ in pairs], [new for _, new in pairs])


def rows_of(name: str, judge: str, comparisons: Sequence[Comparison]) -> list[dict]:
    return [
        {"corpus": name, "judge": judge, "queries_with": languages or "all",
         **together(comparisons, languages).as_dict()}
        for languages in (None, *GROUPS)
    ]  # fmt: skip


def table(rows: Sequence[dict]) -> str:
    head = ["corpus", "judge", "answer in", "queries", "before", "after", "change",
            "95 % interval", "p", ""]  # fmt: skip
    lines = [head]
    for row in rows:
        lines.append([
            row["corpus"], row["judge"], row["queries_with"], str(row["queries"]),
            f"{row['before']:.3f}", f"{row['after']:.3f}", f"{row['difference']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}", f"{row['p_value']:.4f}", row["verdict"],
        ])  # fmt: skip
    return "\n".join(aligned(lines, numbers=range(3, 9)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="the reranker (default: RERANK_URL, else ours)")
    parser.add_argument("--recall", choices=("everything", "bm25"), default="everything")
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    reranker = Reranker(options.url)
    found: dict[str, list[Comparison]] = {"first": [], "second": []}
    rows = []
    for name in SHIPPED:
        labelled = shipped(name)
        words = Bm25(labelled.documents)
        recall = Everything(labelled.documents) if options.recall == "everything" else words
        one = compare(
            labelled, Search(recall, reranker, raw_scores=True), against=Search(words),
            depth=options.depth, progress=False,
        )  # fmt: skip
        other = with_labels(one, labelled.graded_by(read_qrels(str(second_labels(name)))))
        for judge, comparison in (("first", one), ("second", other)):
            found[judge].append(comparison)
            rows += rows_of(name, judge, [comparison])
        print(f"{name} done", flush=True)
    for judge, comparisons in found.items():
        rows += rows_of("together", judge, comparisons)
    print(f"model {found['first'][0].model}, {MAIN_MEASURE}, recall {options.recall}\n{table(rows)}")
    changed = [
        (a["corpus"], a["queries_with"]) for a, b in paired(rows) if a["verdict"] != b["verdict"]
    ]
    print(f"verdicts that depend on the judge: {len(changed)} of {len(rows) // 2} {changed or ''}")
    if options.json:
        facts = {"model": found["first"][0].model, "measure": MAIN_MEASURE,
                 "recall": options.recall, "depth": options.depth, "rows": rows}  # fmt: skip
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def paired(rows: Sequence[dict]) -> list[tuple[dict, dict]]:
    """(by the first judge, by the second) for each corpus and group."""
    seconds = {(r["corpus"], r["queries_with"]): r for r in rows if r["judge"] == "second"}
    return [(r, seconds[r["corpus"], r["queries_with"]]) for r in rows if r["judge"] == "first"]


if __name__ == "__main__":
    main()
