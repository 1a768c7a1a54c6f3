"""evaluate: does reranking help? By labels, by two judges' labels, by ratings, by clicks; and does
the first result stay the same when nothing that matters changes?"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_kit.commands.result import AddCommand, Result, positive, say
from rerank_kit.commands.searching import make_recall, recall_options
from rerank_kit.errors import InputError

if TYPE_CHECKING:
    from rerank_kit.search.agreement import Agreement
    from rerank_kit.search.evaluate import Comparison
    from rerank_kit.search.labelled import Labelled
    from rerank_kit.search.pipeline import Search


def add(command: AddCommand) -> None:
    _options(command("evaluate", evaluate, "does reranking help? on labelled queries (BEIR files)"))


def evaluate(options: Namespace) -> Result:
    if options.published:
        return _published()
    if options.ratings or options.clicks:
        return _feedback(options)
    labelled = _labelled(options)
    if options.agreement_only:
        found = _agreement(options, labelled)
        return Result(True, f"{labelled.name}: {found}", found.as_dict())
    return _stability(options, labelled) if options.stability else _compare(options, labelled)


def _labelled(options: Namespace) -> Labelled:
    from rerank_kit.search.labelled import read_labelled, shipped

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
    return labelled.only(languages=options.languages) if options.languages else labelled


def _compare(options: Namespace, labelled: Labelled) -> Result:
    from rerank_kit.search import report
    from rerank_kit.search.evaluate import changes_text, compare
    from rerank_kit.search.pipeline import Search
    from rerank_kit.search.recall import Bm25

    agreed = _agreement(options, labelled) if options.second_qrels is not None else None
    against = Search(Bm25(labelled.documents)) if options.recall == "everything" else None
    comparison = compare(
        labelled, _search(options, labelled), against=against, depth=options.depth,
        relevant_from=options.relevant_from, progress=False if options.json else None,
    )  # fmt: skip
    text = [str(comparison), "", changes_text(comparison), "", *comparison.times()]
    data = comparison.as_dict()
    if agreed:
        again = _second(options, comparison)
        text += ["", *_second_text(agreed, again)]
        data["second_labels"] = {"agreement": agreed.as_dict(), **again.as_dict()}
    if options.report:
        written = report.write(comparison, Path(options.report))
        data["report"] = [str(path) for path in written]
        text += ["", *(f"written: {path}" for path in written)]
    return Result(True, "\n".join(text), data)


def _search(options: Namespace, labelled: Labelled) -> Search:
    from rerank_kit.client import Reranker
    from rerank_kit.search.pipeline import Search

    recall = make_recall(options, labelled.documents)
    return Search(
        recall, Reranker(options.url), options.instruction, raw_scores=options.raw_scores
    )


def _second_grades(options: Namespace) -> dict[str, dict[str, int]]:
    from rerank_kit.search.labelled import read_qrels, second_labels

    if not options.second_qrels and not options.corpus_name:
        raise InputError(
            "Whose are the second labels?", hint="--second-qrels FILE, as --qrels but another judge"
        )
    return read_qrels(options.second_qrels or str(second_labels(options.corpus_name)))


def _agreement(options: Namespace, labelled: Labelled) -> Agreement:
    from rerank_kit.search.agreement import agreement_of

    return agreement_of(labelled, _second_grades(options))


def _second(options: Namespace, comparison: Comparison) -> Comparison:
    from rerank_kit.search.evaluate import with_labels

    labelled = comparison.labelled.graded_by(_second_grades(options))
    return with_labels(comparison, labelled, options.relevant_from)


def _second_text(agreed: Agreement, again: Comparison) -> list[str]:
    from rerank_kit.search.evaluate import MAIN_MEASURE

    lines = ["the same results by the second judge's labels", str(agreed)]
    lines += [f"verdict: {again.main.sentence(MAIN_MEASURE)}", *again.group_table()]
    return lines + [f"note: {note}" for note in again.labelled.notes]


def _stability(options: Namespace, labelled: Labelled) -> Result:
    from rerank_kit.client import Reranker
    from rerank_kit.search import stability

    search = _search(options, labelled)
    say(options, f"{labelled!r}, depth {options.depth}")
    found = [
        stability.shuffled_documents(
            labelled, search, depth=options.depth, shuffles=options.shuffles
        )
    ]
    notes = []
    if options.rewordings or options.corpus_name:
        rewordings = (
            stability.read_rewordings(options.rewordings) if options.rewordings
            else stability.shipped_rewordings(options.corpus_name)
        )  # fmt: skip
        found.append(
            stability.changed_wording(labelled, search, rewordings, depth=options.depth)
        )
    else:
        notes.append("other wordings were not tried: --rewordings FILE")
    if options.other_url:
        found.append(
            stability.other_server(
                labelled, search, Reranker(options.other_url), depth=options.depth
            )
        )
    else:
        notes.append("lower precision was not tried: --other-url, a server with another --dtype")
    model = search.reranker.model if search.reranker else ""
    data: dict[str, Any] = {
        "corpus": labelled.name, "queries": len(labelled.queries), "depth": options.depth,
        "model": model, "stability": [one.as_dict() for one in found], "notes": notes,
    }  # fmt: skip
    text = [f"model: {model}", stability.stability_text(found), *(f"note: {n}" for n in notes)]
    return Result(True, "\n".join(text), data)


def _feedback(options: Namespace) -> Result:
    from rerank_kit.search import feedback_report

    if options.ratings and options.clicks:
        raise InputError("--ratings and --clicks are two reports: ask for one at a time.")
    found = (
        feedback_report.of_ratings(options.ratings, options.before, options.after)
        if options.ratings
        else feedback_report.of_clicks(options.clicks, options.before, options.after)
    )
    text, data = str(found), found.as_dict()
    if options.report:
        written = feedback_report.write(found, Path(options.report))
        data["report"] = [str(path) for path in written]
        text += "\n\n" + "\n".join(f"written: {path}" for path in written)
    return Result(True, text, data)


def _published() -> Result:
    from rerank_kit.search.published import as_dict, text

    return Result(True, text(), as_dict())


def _options(parser: ArgumentParser) -> None:
    files = parser.add_argument_group("labelled queries")
    files.add_argument("--corpus", metavar="FILE", help="documents: corpus.jsonl")
    files.add_argument("--queries", metavar="FILE", help="queries.jsonl")
    files.add_argument("--qrels", metavar="FILE", help="labels: qrels/test.tsv")
    files.add_argument(
        "--corpus-name", metavar="NAME",
        help="a corpus of this package: technical, shop, courses, support or design",
    )
    files.add_argument(
        "--languages", choices=("same", "both", "cross"),
        help="only the queries whose answers are in their own language, in both, in the other",
    )
    files.add_argument(
        "--relevant-from", type=positive, default=1, metavar="GRADE",
        help="the grade from which a document counts as an answer (default: 1)",
    )
    files.add_argument(
        "--second-qrels", nargs="?", const="", metavar="FILE",
        help="another judge's labels: do the two agree, and is the result the same with them?"
        " (without FILE: the second pass of --corpus-name)",
    )
    files.add_argument(
        "--agreement-only", action="store_true",
        help="only how far the two judges agree; needs no server",
    )
    stability = parser.add_argument_group("is the first result stable?")
    stability.add_argument(
        "--stability", action="store_true",
        help="shuffle the documents, change the wording, ask another server",
    )
    stability.add_argument(
        "--shuffles", type=positive, default=3, metavar="N", help="orders tried (default: 3)"
    )
    stability.add_argument(
        "--rewordings", metavar="FILE",
        help='JSON lines {"query-id": ..., "text": ...} (default: those of --corpus-name)',
    )
    stability.add_argument(
        "--other-url", metavar="URL", help="the same model in another precision, say"
    )
    people = parser.add_argument_group("instead of labels: ratings by people, or a click log")
    people.add_argument(
        "--ratings", metavar="FILE", help="CSV with query, way, rating (1 useless ... 5 right)"
    )
    people.add_argument(
        "--clicks", metavar="FILE",
        help='CSV with way, results (how many were shown), clicks (ranks: "3 1")',
    )
    people.add_argument("--before", metavar="WAY", help="the old way's name in that file")
    people.add_argument("--after", metavar="WAY", help="the new way's name in that file")
    parser.add_argument(
        "--published", action="store_true",
        help="the published quality of the real models, quoted with its source",
    )
    parser.add_argument(
        "--raw-scores", action="store_true",
        help="rank by logits: they part documents whose scores are all 1.000",
    )
    parser.add_argument(
        "--report", metavar="FILE.html", help="also write a page and, beside it, Markdown"
    )
    recall_options(parser)
