"""rank and score: order documents for a query, or score a whole file of pairs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from rerank_kit.commands.result import AddCommand, Result, positive
from rerank_kit.errors import InputError

if TYPE_CHECKING:
    from rerank_kit.client import LongDocuments


def add(command: AddCommand) -> None:
    _rank_options(command("rank", rank, "rank the documents of a file for a query"))
    _score_options(command("score", score, "score a whole file of pairs; goes on when interrupted"))


def rank(options: Namespace) -> Result:
    from rerank_kit.client import Reranker
    from rerank_kit.client.documents import read_documents

    if not options.query.strip():
        raise InputError("The query is empty.", hint='--query "what you are looking for"')
    documents = read_documents(options.documents, paragraphs=options.paragraphs)
    ranking = Reranker(options.url).rank(
        options.query, documents, _instruction(options), options.top_n,
        threshold=options.threshold,
        raw_scores=options.raw_scores,
        long_documents=_long_documents(options),
        progress=None if sys.stderr.isatty() else False,
    )  # fmt: skip
    data = {
        "query": ranking.query,
        "instruction": ranking.instruction,
        "model": ranking.model,
        "results": [document.as_dict() for document in ranking],
        "unscored": [
            {"index": one.index, "reason": one.reason} | ({"id": one.id} if one.id else {})
            for one in ranking.unscored
        ],
        "prompt_tokens": ranking.prompt_tokens,
        "seconds": round(ranking.seconds or 0.0, 3),
        "notes": list(ranking.notes),
    }
    return Result(True, str(ranking), data)


def score(options: Namespace) -> Result:
    """Exit code 1 when some pair could not be scored."""
    from tqdm import tqdm

    from rerank_kit.client import Reranker
    from rerank_kit.client.jobs import Settings
    from rerank_kit.client.pairs_file import score_file

    settings = Settings(_long_documents(options), raw_scores=options.raw_scores)
    with tqdm(unit="pair", disable=options.json and not sys.stderr.isatty()) as bar:

        def advance(done: int, total: int) -> None:
            if bar.total is None:  # what an earlier run did counts for the bar, not for its speed
                bar.total, bar.initial = total, done
            bar.update(done)

        report = score_file(
            Reranker(options.url), options.pairs, options.out, settings, on_progress=advance
        )
    lines = [f"scored {report.scored_now:,} pairs in {report.seconds:.0f} s -> {options.out}"]
    if report.found_done:
        lines.append(f"{report.found_done:,} were there from an earlier run")
    if report.unscored:
        shown = ", ".join(map(str, report.unscored[:10]))
        more = " ..." if len(report.unscored) > 10 else ""
        lines.append(f"no score (see `error`) on line {shown}{more}")
    data = {
        "out": options.out,
        "pairs": report.pairs,
        "scored_now": report.scored_now,
        "found_done": report.found_done,
        "unscored": list(report.unscored),
        "seconds": round(report.seconds, 1),
    }
    return Result(not report.unscored, "\n".join(lines), data)


def _instruction(options: Namespace) -> str | None:
    if options.template is None:
        wording: str | None = options.instruction
        return wording
    from rerank_kit.client.instructions import template

    return template(options.template).text


def _long_documents(options: Namespace) -> LongDocuments:
    from rerank_kit.client.long_documents import LongDocuments

    return LongDocuments(
        options.long_documents,
        passage_tokens=options.chunk,
        max_chunks_per_doc=options.max_chunks_per_doc,
        pooling=options.pooling,
    )


def _rank_options(parser: ArgumentParser) -> None:
    parser.add_argument("--query", required=True)
    parser.add_argument(
        "--documents", required=True, metavar="FILE",
        help='one document a line, or JSON lines with "text" and "id"; - is stdin',
    )
    parser.add_argument("--paragraphs", action="store_true", help="blank lines part documents")
    wording = parser.add_mutually_exclusive_group()
    wording.add_argument("--instruction", help="what relevant means here, best in English")
    wording.add_argument(
        "--template", metavar="NAME", help="a ready-made instruction: legal, code_only, support ..."
    )
    parser.add_argument("--top-n", type=positive, metavar="N", help="show the best N")
    parser.add_argument(
        "--threshold", type=float, metavar="S", help="leave out scores below S"
    )
    _common_options(parser)


def _score_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--pairs", required=True, metavar="FILE",
        help='JSON lines with "query", "document" and optionally "instruction"',
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE",
        help="the same lines with their scores, in order; one half done is continued",
    )
    _common_options(parser)


def _common_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--raw-scores", action="store_true", help="logits, which differ where scores are all 1.000"
    )
    parser.add_argument(
        "--long-documents", choices=("chunk", "cut", "skip", "error"), default="chunk",
        help="one that is too long: in passages (default), only its beginning, no score, fail",
    )
    parser.add_argument(
        "--chunk", type=positive, metavar="TOKENS",
        help="part every document longer than this into passages (default: only if too long)",
    )
    parser.add_argument(
        "--max-chunks-per-doc", type=positive, metavar="N", help="read so many passages at most"
    )
    parser.add_argument(
        "--pooling", choices=("max", "mean"), default="max",
        help="a document's score: its best passage's, or the mean of its best three",
    )
    parser.add_argument("--url", help="the server (default: RERANK_URL, else ours)")
