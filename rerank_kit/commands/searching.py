"""search: two-stage search in a folder. Its options for the first stage serve evaluate as well."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
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


def search(options: Namespace) -> Result:
    from rerank_kit.client import Reranker
    from rerank_kit.search.documents import read_folder
    from rerank_kit.search.pipeline import Search

    columns = options.columns.split(",") if options.columns else None
    library = read_folder(options.folder, columns, cache=not options.no_cache)
    say(options, f"{library!r}")
    for note in library.notes:
        say(options, f"note: {note}")
    recall = make_recall(options, library.documents)
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


def make_recall(options: Namespace, documents: Sequence[Document]) -> Recall:
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


def recall_options(parser: ArgumentParser) -> None:
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
    recall_options(parser)
