"""judge: blind judgements on one's own texts, and the verdict. An interrupted session goes on."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_kit.commands.result import AddCommand, Result, positive, say
from rerank_kit.commands.searching import make_recall, recall_options

if TYPE_CHECKING:
    from rerank_kit.search.judge import Judging

#: As much of a document as can be judged at a glance.
SHOWN_CHARACTERS = 700
PROMPT = "1 useless ... 5 exactly right, u undo, q stop for now: "


def add(command: AddCommand) -> None:
    _options(command("judge", judge, "judge results blind, and get a verdict on your own texts"))


def judge(options: Namespace) -> Result:
    from rerank_kit.search.verdict import time_text, verdict

    session = _session(options)
    if not options.json:
        _ask(options, session)
    data: dict = {
        "judged": session.done, "total": session.total, "minutes": round(session.minutes, 1),
        "judged_queries": len(session.judged_queries), "session": str(session.path),
    }  # fmt: skip
    text = f"{session!r}, {time_text(session.minutes)}; kept in {session.path}"
    if session.done and session.judged_queries:
        made = verdict(
            session, price_per_hour=options.price_per_hour, hours_a_day=options.hours_a_day,
            currency=options.currency,
        )  # fmt: skip
        data["verdict"] = made.as_dict()
        text += f"\n\n{made}"
        if options.report:
            written = made.write(options.report)
            data["report"] = str(written)
            text += f"\n\nwritten: {written}"
    return Result(True, text, data)


def _session(options: Namespace) -> Judging:
    from tqdm import tqdm

    from rerank_kit.client import Reranker
    from rerank_kit.client.documents import read_text
    from rerank_kit.search.documents import read_folder
    from rerank_kit.search.judge import Judging
    from rerank_kit.search.pipeline import Search
    from rerank_kit.search.proposals import propose_queries
    from rerank_kit.search.recall import Bm25

    path = Path(options.session)
    if path.exists():
        return Judging.load(path)
    library = read_folder(options.folder)
    say(options, f"{library!r}")
    if options.queries:
        queries = [line for line in read_text(options.queries).splitlines() if line.strip()]
    else:
        queries = propose_queries(library.documents, options.count)
        say(options, "No --queries: proposed from the texts. Real questions are better.")
    recall = make_recall(options, library.documents)
    search = Search(recall, Reranker(options.url), options.instruction)
    # Reranking everything is compared with what people have without a reranker: words.
    against = Search(Bm25(library.documents)) if options.recall == "everything" else None
    say(options, f"searching {len(queries)} queries in two ways ...")
    with tqdm(total=len(queries), unit="query", leave=False, disable=None) as bar:
        return Judging.prepare(
            search, queries, against=against, depth=options.depth, shown=options.shown, path=path,
            progress=lambda done, total: bar.update(done - bar.n),
        )  # fmt: skip


def _ask(options: Namespace, session: Judging) -> None:
    """Show one result after the other until all are judged, the input ends, or q."""
    while item := session.next():
        shown = str(item)
        more = "\n[...]" if len(shown) > SHOWN_CHARACTERS else ""
        say(options, f"\n--- {session.done + 1} of {session.total}")
        say(options, shown[:SHOWN_CHARACTERS] + more)
        print(PROMPT, end="", flush=True)
        answer = sys.stdin.readline()
        word = answer.strip().lower()
        if not answer or word == "q":
            print()
            return
        if word == "u":
            session.undo()
        elif word in ("1", "2", "3", "4", "5"):
            session.grade(item, int(word))
        else:
            say(options, f"{word!r} is none of these.")
    print()


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--folder", required=True, metavar="DIR", help="your texts")
    parser.add_argument(
        "--session", default="judging.json", metavar="FILE",
        help="where judgements are kept (default: judging.json); if it exists, it goes on",
    )
    parser.add_argument(
        "--queries", metavar="FILE", help="one query a line (default: proposed from the texts)"
    )
    parser.add_argument(
        "--count", type=positive, default=25, metavar="N", help="proposed queries (default: 25)"
    )
    parser.add_argument(
        "--shown", type=positive, default=5, metavar="N",
        help="results of each way that are judged (default: 5)",
    )
    parser.add_argument("--price-per-hour", type=float, metavar="P", help="of the machine")
    parser.add_argument("--hours-a-day", type=float, default=24.0, metavar="H", help="default: 24")
    parser.add_argument("--currency", default="", help="only printed")
    parser.add_argument("--report", metavar="FILE.html", help="write the verdict as a page")
    recall_options(parser)
