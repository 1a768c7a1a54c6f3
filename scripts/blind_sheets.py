"""Sheets for a blind second labelling of the shipped corpora, and the labels that come back.

`write` puts pairs of query and document on sheets without label, file id or order that could tell
anything; a judge who has seen neither the labels nor the cards grades them. `collect` turns the
graded sheets into qrels/second_pass.tsv beside the first labels of each corpus. The sampling has a
fixed seed, so that anybody can write the same sheets again and have them judged once more.

    python scripts/blind_sheets.py write FOLDER
    python scripts/blind_sheets.py collect FOLDER
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from pathlib import Path

from rerank_kit.search.labelled import CORPORA, SHIPPED, second_labels, shipped
from rerank_kit.search.recall import Bm25

SEED = 20261121
PAIRS_PER_SHEET = 120
#: One more unlabelled document than the BM25 one, for this share of the queries.
RANDOM_SHARE = 0.4

GUIDE = """# How to grade

Each line of a sheet holds one query and one document. Somebody typed the query into a search
box; the document is one of the texts that could be shown. Give one grade to each pair:

- **2** - the document answers the query, or is the thing that is looked for. A person who typed
  this would stop searching here, or would be right to list it among several good answers.
- **1** - it helps in part: it answers a part of the question, or points to the answer, but the
  person would still need another document.
- **0** - it does not help with this query, although it may be about the same subject or share
  its words.

Rules:
- Judge every pair by itself. The same query or document may come again; let nothing follow from
  how you graded the other one, nor from how often a grade has come up.
- The language does not matter. A Chinese document which answers an English query gets 2, and the
  other way round.
- Read numbers, dates, names and "not / without / except" exactly. A document with the right
  subject and the wrong year, size or condition does not answer the query.
- When a query has two meanings, a document which answers either one gets 2.
- Use only what is written in the document, not what is probably true.

For sheet-NAME.jsonl write labels-NAME.jsonl, a line for each pair: {"pair": "...", "grade": 0}
"""


def pairs_of(name: str) -> list[tuple[str, str]]:
    """(query id, document id): every labelled pair, and for each query what no one has judged:
    the best such document for BM25 (a random one where it finds none), for some a random one."""
    corpus = shipped(name)
    chance = random.Random(f"{SEED} {name}")
    recall = Bm25(corpus.documents)
    pairs = []
    for query in corpus.queries:
        pairs += [(query.id, document) for document in query.grades]
        found = [corpus.documents[place].id for place in recall.find(query.text, 30)]
        unjudged = [one.id for one in corpus.documents if one.id not in query.grades]
        extra = next((one for one in found if one not in query.grades), chance.choice(unjudged))
        pairs.append((query.id, extra))
        if chance.random() < RANDOM_SHARE:
            pairs.append((query.id, chance.choice([one for one in unjudged if one != extra])))
    chance.shuffle(pairs)
    return pairs


def pair_id(name: str, query: str, document: str) -> str:
    """A name of a pair which tells nothing about it."""
    return hashlib.sha256(f"{SEED} {name} {query} {document}".encode()).hexdigest()[:12]


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "GUIDE.md").write_text(GUIDE, encoding="utf-8")
    total = 0
    for name in SHIPPED:
        corpus = shipped(name)
        queries = {one.id: one.text for one in corpus.queries}
        documents = {one.id: one.whole for one in corpus.documents}
        pairs = pairs_of(name)
        total += len(pairs)
        for start in range(0, len(pairs), PAIRS_PER_SHEET):
            lines = [
                json.dumps({"pair": pair_id(name, query, document), "query": queries[query],
                            "document": documents[document]}, ensure_ascii=False)
                for query, document in pairs[start : start + PAIRS_PER_SHEET]
            ]  # fmt: skip
            sheet = folder / f"sheet-{name}-{start // PAIRS_PER_SHEET + 1}.jsonl"
            sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{total:,} pairs on {len(list(folder.glob('sheet-*.jsonl')))} sheets in {folder}")


def collect(folder: Path) -> None:
    graded: dict[str, int] = {}
    for path in sorted(folder.glob("labels-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["grade"] not in (0, 1, 2):
                raise SystemExit(f"{path.name}: grade {row['grade']!r} of pair {row['pair']}")
            graded[row["pair"]] = row["grade"]
    for name in SHIPPED:
        pairs = sorted(pairs_of(name))
        missing = [pair for pair in pairs if pair_id(name, *pair) not in graded]
        if missing:
            print(f"{name}: {len(missing)} of {len(pairs)} pairs have no grade; nothing written")
            continue
        target = second_labels(name)
        rows = [f"{query}\t{document}\t{graded[pair_id(name, query, document)]}"
                for query, document in pairs]  # fmt: skip
        target.write_text(
            "\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n", encoding="utf-8"
        )
        print(f"{name}: {len(rows)} pairs -> {target.relative_to(CORPORA)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("write", "collect"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    {"write": write, "collect": collect}[options.action](options.folder)
