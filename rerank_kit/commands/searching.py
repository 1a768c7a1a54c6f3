"""search: two-stage search in a folder. evaluate: does reranking help, on labelled queries?"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_kit.commands.result import AddCommand, Result, positive, say
from rerank_kit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rerank_kit.search.documents import Document
    from rerank_kit.search.recall import Recall

RECALLS = ("bm25", "everything", "embeddings", "hybrid")


def add(command: AddCommand) -> None:
    _search_options(command("search", search, "two-stage search in a folder of your own texts"))
    _evaluate_options(
        command("evaluate", evaluate, "does reranking help? on labelled queries (BEIR files)")
    )


def search(options: Namespace) -> Result:
    from rerank_kit.client import Reranker
    from rerank_kit.search.documents import read_folder
    from rerank_kit.search.pipeline import Search

    columns = options.columns.split(",") if options.columns else None
    library = read_folder(options.folder, columns, cache=not options.no_cache)
    say(options, f"{library!r}")
    for note in library.notes:
        say(options, f"note: {note}")
    recall = _recall(options, library.documents)
    reranker = None if options.no_rerank else Reranker(options.url)
    found = Search(recall, reranker, options.instruction).run(
        options.query, options.depth, options.top_n
    )
    data = found.as_dict()
    data["library"] = {
        "documents": len(library.documents), "files_read": library.read,
        "files_kept": library.kept, "notes": list(library.notes),
    }  # fmt: skip
    return Result(True, f"{found}\n{found.timing()}", data)


def evaluate(options: Namespace) -> Result:
    from rerank_kit.client import Reranker
    from rerank_kit.search import report
    from rerank_kit.search.evaluate import changes_text, compare
    from rerank_kit.search.labelled import read_labelled, shipped
    from rerank_kit.search.pipeline import Search
    from rerank_kit.search.recall import Bm25

    files = (options.corpus, options.queries, options.qrels)
    if options.corpus_name and any(files):
        raise InputError("--corpus-name and your own files exclude each other.")
    if options.corpus_name:
        labelled = shipped(options.corpus_name)
    elif all(files):
        labelled = read_labelled(*files)
    else:
        raise InputError(
            "Three files are needed: --corpus, --queries and --qrels.",
            hint="or --corpus-name technical, for a corpus of this package",
        )
    if options.languages:
        labelled = labelled.only(languages=options.languages)
    recall = _recall(options, labelled.documents)
    against = Search(Bm25(labelled.documents)) if options.recall == "everything" else None
    comparison = compare(
        labelled,
        Search(
            recall, Reranker(options.url), options.instruction, raw_scores=options.raw_scores
        ),
        against=against, depth=options.depth, relevant_from=options.relevant_from,
        progress=False if options.json else None,
    )  # fmt: skip
    text = [str(comparison), "", changes_text(comparison), "", *comparison.times()]
    data = comparison.as_dict()
    if options.report:
        written = report.write(comparison, Path(options.report))
        data["report"] = [str(path) for path in written]
        text += ["", *(f"written: {path}" for path in written)]
    return Result(True, "\n".join(text), data)


def _recall(options: Namespace, documents: Sequence[Document]) -> Recall:
    from rerank_kit.search import recall as stages

    if options.recall == "bm25":
        return stages.Bm25(documents)
    if options.recall == "everything":
        return stages.Everything(documents)
    if not options.embeddings_url:
        raise InputError(
            f"--recall {options.recall} needs --embeddings-url: the address of a server with"
            " /v1/embeddings.",
            hint="without one, --recall bm25 finds by words",
        )
    by_meaning = stages.Embeddings(documents, options.embeddings_url)
    if options.recall == "embeddings":
        return by_meaning
    return stages.Hybrid(stages.Bm25(documents), by_meaning)


def _shared_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--recall", choices=RECALLS, default="bm25",
        help="the first stage (default: bm25; everything: rerank all documents)",
    )
    parser.add_argument(
        "--embeddings-url", metavar="URL",
        help="a server with /v1/embeddings; its key is taken from EMBEDDINGS_API_KEY",
    )
    parser.add_argument(
        "--depth", type=positive, default=50, metavar="N",
        help="candidates that recall hands to the reranker (default: 50)",
    )
    parser.add_argument("--instruction", help="what relevant means here, best in English")
    parser.add_argument("--url", help="the reranker (default: RERANK_URL, else ours)")


def _search_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--folder", required=True, metavar="DIR",
        help="text, Markdown, HTML, PDF, CSV and JSON-lines files; sub-folders too",
    )
    parser.add_argument("--query", required=True)
    parser.add_argument("--top-n", type=positive, default=10, metavar="N", help="default: 10")
    parser.add_argument(
        "--columns", metavar="A,B,...",
        help="columns of tables and JSON lines that are put together (default: title, name,"
        " tags, description, text and the like)",
    )
    parser.add_argument("--no-rerank", action="store_true", help="recall alone, without a server")
    parser.add_argument("--no-cache", action="store_true", help="read every file again")
    _shared_options(parser)


def _evaluate_options(parser: ArgumentParser) -> None:
    parser.add_argument("--corpus", metavar="FILE", help="documents: corpus.jsonl")
    parser.add_argument("--queries", metavar="FILE", help="queries.jsonl")
    parser.add_argument("--qrels", metavar="FILE", help="labels: qrels/test.tsv")
    parser.add_argument(
        "--corpus-name", metavar="NAME",
        help="a corpus of this package: technical, shop, courses, support or design",
    )
    parser.add_argument(
        "--languages", choices=("same", "both", "cross"),
        help="only the queries whose answers are in their own language, in both, in the other",
    )
    parser.add_argument(
        "--relevant-from", type=positive, default=1, metavar="GRADE",
        help="the grade from which a document counts as an answer (default: 1)",
    )
    parser.add_argument(
        "--raw-scores", action="store_true",
        help="rank by logits: they part documents whose scores are all 1.000",
    )
    parser.add_argument(
        "--report", metavar="FILE.html", help="also write a page and, beside it, Markdown"
    )
    _shared_options(parser)
