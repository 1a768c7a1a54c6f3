"""Judging blind: the session itself, and the whole way of a new user with a folder of texts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from mixed_folder import QUERIES, make_folder
from processes import cli

from rerank_kit import Reranker, Server
from rerank_kit.errors import FileInputError
from rerank_kit.search import Bm25, Document, Judging, Search, judge
from rerank_kit.search.verdict import verdict

#: What a judge gave to the results of QUERIES, who saw the pairs only; the rest he found useless.
#: Recorded from `rerank-kit judge --recall everything --shown 3` with the practice model.
RECORDED = Path(__file__).parent / "recordings" / "judged_tool_library.json"
DOCUMENTS = [
    Document("cactus", "Water a cactus every two weeks."),
    Document("roses", "Roses need water every day in July."),
    Document("museum", "The museum shows a cactus made of glass."),
]


@pytest.fixture
def session(reranker: Reranker, tmp_path: Path) -> Judging:
    search = Search(Bm25(DOCUMENTS), reranker)
    queries = ["water a cactus", " water a cactus ", "cactus in the museum", "roses in July"]
    return Judging.prepare(search, queries, path=tmp_path / "judging.json")


def test_undo_goes_back_in_the_order_of_judging(session: Judging) -> None:
    first = session.next()
    session.grade(first, 2)
    second = session.next()
    session.grade(second, 3)
    session.grade(first, 5)  # changed one's mind: this is now the latest
    assert session.done == 2 and session.undo() == first
    assert session.undo() == second and session.undo() is None and session.done == 0
    assert session.next() == first


def test_progress_and_time_are_told(
    reranker: Reranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    session = Judging.prepare(
        Search(Bm25(DOCUMENTS), reranker), ["cactus", "roses", "museum"],
        path=tmp_path / "judging.json",
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert set(session.queries) == {"cactus", "roses", "museum"}
    clock = iter([0.0, 30.0, 90.0, 90.0 + judge.PAUSE_SECONDS + 1])  # the last one after a pause
    monkeypatch.setattr(judge, "time", SimpleNamespace(time=lambda: next(clock)))
    while item := session.next():
        session.grade(item, 4)
    assert session.done == session.total == 4 and session.minutes == pytest.approx(1.5)
    assert Judging.load(tmp_path / "judging.json").minutes == pytest.approx(1.5)


def test_a_file_that_is_no_session_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "judging.json"
    path.write_text('{"format": 1, "grades": {}}', encoding="utf-8")
    with pytest.raises(FileInputError, match="no judging session"):
        Judging.load(path)


def test_nothing_judged_yet_is_no_verdict(server: Server, tmp_path: Path) -> None:
    """Seen as a new user: queries that found nothing count, so that a verdict on three of them
    was printed before the first question was answered."""
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "cactus.txt").write_text(DOCUMENTS[0].text, encoding="utf-8")
    queries = tmp_path / "queries.txt"
    queries.write_text("zeppelin\nwater a cactus\n", encoding="utf-8")
    words = ("judge", "--folder", str(folder), "--session", str(tmp_path / "s.json"),
             "--queries", str(queries))  # fmt: skip
    shown = cli(*words, input="q\n")
    assert shown.returncode == 0 and "certainty" not in shown.stdout
    assert "verdict" not in json.loads(cli(*words, "--json").stdout)
    ended = cli(*words, input="5\n")
    assert "1 of 1 judged" in ended.stdout and "certainty" in ended.stdout


@pytest.mark.slow
def test_from_a_folder_without_labels_to_a_verdict(server: Server, tmp_path: Path) -> None:
    """The whole way through the command: mixed files, questions, judgements in two sittings, the
    page. The judgements were recorded from a blind sitting, they know nothing of the rankings."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    folder, path = make_folder(tmp_path / "texts"), tmp_path / "session.json"
    queries, page = tmp_path / "queries.txt", tmp_path / "verdict.html"
    queries.write_text("\n".join(QUERIES), encoding="utf-8")
    words = ("judge", "--folder", str(folder), "--session", str(path), "--queries", str(queries),
             "--recall", "everything", "--shown", "3")  # fmt: skip
    begun = json.loads(cli(*words, "--json").stdout)
    assert begun["judged"] == 0 and begun["total"] > 3 * len(QUERIES)
    rehearsal = Judging.load(shutil.copy(path, tmp_path / "rehearsal.json"))
    answers = []
    while item := rehearsal.next():
        answers.append(recorded.get(item.query, {}).get(item.document_id, 1))
        rehearsal.grade(item, answers[-1])
    lines = [f"{answer}\n" for answer in answers]
    first = cli(*words, input="".join([*lines[:30], "q\n"]))
    assert first.returncode == 0 and f"30 of {begun['total']} judged" in first.stdout
    ended = cli(*words, "--report", str(page), "--price-per-hour", "0.6", "--hours-a-day", "10",
                input="".join(lines[30:]))  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Yes: everything + rerank is better on these texts" in ended.stdout
    assert f"{len(QUERIES)} queries by {begun['total']} judgements" in ended.stdout
    assert "182.40 a month" in ended.stdout and "practice model, a toy" in ended.stdout
    shown = page.read_text(encoding="utf-8")
    assert "Yes: everything + rerank" in shown and "切弧形瓷砖" in shown and "<svg" in shown
    found = verdict(Judging.load(path))
    assert found.answer == "yes" and found.judgements == begun["total"]
