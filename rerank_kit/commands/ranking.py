"""rank: order documents for a query."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from rerank_kit.commands.result import AddCommand, Result, positive
from rerank_kit.errors import InputError


def add(command: AddCommand) -> None:
    _rank_options(command("rank", rank, "rank the documents of a file for a query"))


def rank(options: Namespace) -> Result:
    from rerank_kit.client import Reranker
    from rerank_kit.client.documents import read_documents

    if not options.query.strip():
        raise InputError("The query is empty.", hint='--query "what you are looking for"')
    documents = read_documents(options.documents, paragraphs=options.paragraphs)
    ranking = Reranker(options.url).rank(
        options.query, documents, options.instruction, options.top_n,
        progress=None if sys.stderr.isatty() else False,
    )
    data = {
        "query": ranking.query,
        "instruction": ranking.instruction,
        "model": ranking.model,
        "results": [document.as_dict() for document in ranking],
        "notes": list(ranking.notes),
    }
    return Result(True, str(ranking), data)


def _rank_options(parser: ArgumentParser) -> None:
    parser.add_argument("--query", required=True)
    parser.add_argument(
        "--documents", required=True, metavar="FILE",
        help='one document a line, or JSON lines with "text" and "id"; - is stdin',
    )
    parser.add_argument("--paragraphs", action="store_true", help="blank lines part documents")
    parser.add_argument("--instruction", help="what relevant means here, best in English")
    parser.add_argument("--top-n", type=positive, metavar="N", help="show the best N")
    parser.add_argument("--url", help="the server (default: RERANK_URL, else ours)")
