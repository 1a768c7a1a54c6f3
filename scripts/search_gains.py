"""What recall + rerank gains over recall alone on the shipped corpora, by both judges' labels.

    python scripts/search_gains.py [--url URL] [--keep FILE] [--json FILE]

Needs a running server (rerank-kit launch) and scores every document for every query once: as the
score of a pair does not depend on the others, that gives both ways of reranking, all documents
("everything") and the candidates that BM25 finds ("bm25"). --keep FILE: rankings are kept there, so
that an interrupted run goes on. Scores are logits, which part what looks alike as probabilities.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
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
        {"corpus": name, "judge": judge, "answer_in": languages or "all",
         **together(comparisons, languages).as_dict()}
        for languages in (None, *GROUPS)
    ]  # fmt: skip


def table(rows: Sequence[dict]) -> str:
    head = ["corpus", "judge", "answer in", "queries", "before", "after", "change",
            "95 % interval", "p", ""]  # fmt: skip
    lines = [head]
    for row in rows:
        lines.append([
            row["corpus"], row["judge"], row["answer_in"], str(row["queries"]),
            f"{row['before']:.3f}", f"{row['after']:.3f}", f"{row['difference']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}", f"{row['p_value']:.4f}", row["verdict"],
        ])  # fmt: skip
    return "\n".join(aligned(lines, numbers=range(3, 9)))


def rankings_of(name: str, reranker: Reranker, kept: dict, keep: Path | None) -> dict:
    """{query id: document ids, best first}, from the kept file or from the server."""
    labelled = shipped(name)
    everything = Search(Everything(labelled.documents), reranker, raw_scores=True)
    mine = kept.setdefault(name, {})
    for query in labelled.queries:
        if query.id not in mine:
            mine[query.id] = [one.document.id for one in everything.run(query.text, top_n=None)]
            if keep:
                keep.write_text(json.dumps(kept), encoding="utf-8")
    return mine


def comparison_of(name: str, way: str, rankings: dict, depth: int) -> Comparison:
    """BM25 alone against BM25 + rerank ("bm25") or against reranking every document."""
    labelled = shipped(name)
    search = Search(Bm25(labelled.documents))
    plain = compare(labelled, search, against=search, depth=depth, progress=False)
    found = {
        query: [
            one for one in ranking if way == "everything" or one in plain.before.rankings[query]
        ]
        for query, ranking in rankings.items()
    }
    after = replace(plain.after, name=f"{way} + rerank", rankings=found)
    return with_labels(replace(plain, after=after), labelled)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="the reranker (default: RERANK_URL, else ours)")
    parser.add_argument("--depth", type=int, default=50, help="of BM25 (default: 50)")
    parser.add_argument("--keep", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    reranker = Reranker(options.url)
    kept = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else {}
    rankings = {}
    for name in reversed(SHIPPED):
        rankings[name] = rankings_of(name, reranker, kept, options.keep)
        print(f"{name} searched", flush=True)
    facts: dict = {"model": reranker.model, "measure": MAIN_MEASURE, "depth": options.depth}
    for way in ("everything", "bm25"):
        facts[way] = rows = rows_for(way, rankings, options.depth)
        print(f"\n{MAIN_MEASURE}, model {reranker.model}: BM25 against {way} + rerank")
        print(table(rows))
        changed = [
            f"{first['corpus']} ({first['answer_in']})" for first, second in paired(rows)
            if first["verdict"] != second["verdict"]
        ]  # fmt: skip
        print(f"verdicts that depend on the judge: {len(changed)} of {len(rows) // 2}"
              + (f": {', '.join(changed)}" if changed else ""))  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def rows_for(way: str, rankings: dict, depth: int) -> list[dict]:
    """One row for each corpus, judge and group of queries, and for all corpora together."""
    rows = []
    every: dict[str, list[Comparison]] = {"first": [], "second": []}
    for name, found in rankings.items():
        first = comparison_of(name, way, found, depth)
        second = with_labels(
            first, first.labelled.graded_by(read_qrels(str(second_labels(name))))
        )
        for judge, one in (("first", first), ("second", second)):
            every[judge].append(one)
            rows += rows_of(name, judge, [one])
    for judge, comparisons in every.items():
        rows += rows_of("together", judge, comparisons)
    return rows


def paired(rows: Sequence[dict]) -> list[tuple[dict, dict]]:
    """(by the first judge, by the second) for each corpus and group."""
    seconds = {(r["corpus"], r["answer_in"]): r for r in rows if r["judge"] == "second"}
    return [(r, seconds[r["corpus"], r["answer_in"]]) for r in rows if r["judge"] == "first"]


if __name__ == "__main__":
    main()
