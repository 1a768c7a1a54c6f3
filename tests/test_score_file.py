"""rerank-kit score: a whole file of pairs, killed and continued without loss or doubling."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import cli

from rerank_kit import Reranker, Server, errors
from rerank_kit.client import pairs_file
from rerank_kit.client.jobs import Settings
from rerank_kit.client.long_documents import LongDocuments
from rerank_kit.client.pairs_file import score_file
from rerank_kit.samples import SAMPLES


def write_pairs(path: Path, count: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for number in range(count):
        sample = SAMPLES[number % 3]
        text = sample.documents[number % len(sample.documents)]
        row: dict[str, object] = {"query": sample.query, "document": f"{text} {number}"}
        if number % 5 == 0:
            row |= {"instruction": "Find poems about the sea", "id": number}
        rows.append(row)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return rows


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_line_comes_back_with_its_score(server: Server, tmp_path: Path) -> None:
    rows = write_pairs(tmp_path / "pairs.jsonl", 20)
    words = ("--pairs", str(tmp_path / "pairs.jsonl"), "--out", str(tmp_path / "out.jsonl"))
    done = cli("score", *words, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["pairs"], said["scored_now"], said["unscored"]) == (20, 20, [])
    found = read(tmp_path / "out.jsonl")
    client = Reranker(server.url)
    for row, line in zip(rows, found, strict=True):
        assert {key: line[key] for key in row} == row and line["model"] == "practice"
    told = [row.get("instruction") is not None for row in rows]
    for wording in (None, "Find poems about the sea"):
        places = [i for i in range(20) if told[i] == (wording is not None)]
        pairs = [(str(rows[i]["query"]), str(rows[i]["document"])) for i in places]
        wanted = pytest.approx(client.score(pairs, wording), abs=1e-5)
        assert [found[i]["score"] for i in places] == wanted
    before = (tmp_path / "out.jsonl").read_bytes()
    again = cli("score", *words)
    assert "scored 0 pairs" in again.stdout and "20 were there" in again.stdout
    assert (tmp_path / "out.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_kill_in_the_middle_loses_and_doubles_nothing(server: Server, tmp_path: Path) -> None:
    """SIGKILL, twice, wherever it hits; then half a line is left as a kill between two writes of
    the disk would; the last run finishes the job."""
    source, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    rows = write_pairs(source, 400)
    code = (
        "from rerank_kit.client import Reranker, pairs_file\n"
        "pairs_file.PAIRS_PER_WRITE = 20\n"
        f"pairs_file.score_file(Reranker({server.url!r}), {str(source)!r}, {str(out)!r})\n"
    )
    had = 0
    for _ in range(2):
        running = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 300
        while not out.exists() or out.read_bytes().count(b"\n") < had + 40:
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        had = out.read_bytes().count(b"\n")
        assert had < 400
        with out.open("ab") as file:
            file.write('{"query": "半'.encode()[:-1])
    report = score_file(Reranker(server.url), source, out)
    assert report.found_done == had and report.scored_now == 400 - had
    found = read(out)
    assert [(one["query"], one["document"]) for one in found] == [
        (row["query"], row["document"]) for row in rows
    ]
    assert all(0 <= float(str(one["score"])) <= 1 for one in found)


def test_a_pair_that_cannot_be_scored_is_named_and_the_others_go_on(
    reranker: Reranker, tmp_path: Path
) -> None:
    source, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    long = "word " * 5000
    texts = [("q", "short"), ("q", long), (long, "d"), ("q", "last")]
    rows = [{"query": query, "document": document} for query, document in texts]
    source.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    report = score_file(reranker, source, out)
    found = read(out)
    assert report.unscored == (3,) and found[2]["score"] is None
    assert "query leaves no room" in str(found[2]["error"])
    assert found[1]["score"] is not None and "passage" in found[1]
    skipped = score_file(reranker, source, tmp_path / "2", Settings(LongDocuments("skip")))
    assert skipped.unscored == (2, 3)
    assert score_file(reranker, source, tmp_path / "2", Settings(LongDocuments("skip"))).unscored
    done = cli("score", "--pairs", str(source), "--out", str(tmp_path / "3"))
    assert done.returncode == 1 and "no score (see `error`) on line 3" in done.stdout


def test_another_files_scores_are_never_touched(reranker: Reranker, tmp_path: Path) -> None:
    source, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    write_pairs(source, 4)
    score_file(reranker, source, out)
    kept = out.read_bytes()
    with pytest.raises(errors.InputError, match="another kind of score"):
        score_file(reranker, source, out, Settings(raw_scores=True))
    write_pairs(tmp_path / "short.jsonl", 3)
    with pytest.raises(errors.InputError, match="not the beginning of this job: line 4"):
        score_file(reranker, tmp_path / "short.jsonl", out)
    with pytest.raises(errors.InputError, match="cannot be the file of pairs itself"):
        score_file(reranker, source, source)
    (tmp_path / "letter.txt").write_text("Dear Sir,\n")
    with pytest.raises(errors.InputError, match="line 1 differs"):
        score_file(reranker, source, tmp_path / "letter.txt")
    assert (tmp_path / "letter.txt").read_text() == "Dear Sir,\n" and out.read_bytes() == kept


def test_two_processes_do_not_write_one_file(reranker: Reranker, tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.jsonl", 2)
    with pairs_file._locked(tmp_path / "out.jsonl"):
        done = cli("score", "--pairs", str(tmp_path / "pairs.jsonl"), "--out",
                   str(tmp_path / "out.jsonl"))  # fmt: skip
    assert done.returncode == 2 and "Another process is writing" in done.stderr


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "does not exist"),
        (b"", "it is empty"),
        (b'{"query": "a", "document": "b"}\n\n', "Line 2 .* is not JSON"),
        (b'{"query": "a"}\n', "Line 1 .* no text as 'document'"),
        (b'{"query": 7, "document": "b"}\n', "Line 1 .* no text as 'query'"),
        (b'{"query": "a", "document": null}\n', "Line 1 .* no text as 'document'"),
        (b'{"query": "a", "document": ["b"]}\n', "no text as 'document'"),
        (b'{"query": "a", "document": "b", "instruction": 5}\n', "no text as 'instruction'"),
        (b'["a", "b"]\n', "Line 1 .* is no JSON object"),
        (b'{"query": "a", "document": "b"}\n{"query": "a", "docu', "Line 2 .* is not JSON"),
        (b'{"query": "half \\ud83d", "document": "b"}\n', "query of line 1 is not valid text"),
        ('{"query": "中", "document": "b"}\n'.encode("gbk"), "Line 1 .* is not UTF-8"),
        (b"[" * 100_000, "Line 1 .* is not JSON"),
        (b"\x00\x01\x02\n", "Line 1 .* is not JSON"),
    ],
)
def test_files_that_are_no_pairs(
    server: Server, tmp_path: Path, data: bytes | None, says: str
) -> None:
    source = tmp_path / "pairs.jsonl"
    if data is not None:
        source.write_bytes(data)
    with pytest.raises(errors.InputError, match=says):
        score_file(Reranker(server.url), source, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_byte_order_mark_is_no_part_of_the_first_line(
    reranker: Reranker, tmp_path: Path
) -> None:
    (tmp_path / "p").write_text('{"query": "a", "document": "b"}\n', "utf-8-sig")
    assert score_file(reranker, tmp_path / "p", tmp_path / "o").pairs == 1


def test_the_rank_command_has_the_clients_choices(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "documents.txt"
    path.write_text("\n".join([*SAMPLES[1].documents, "word " * 5000]), "utf-8")
    words = ("rank", "--query", SAMPLES[1].query, "--documents", str(path), "--json")
    raw = json.loads(cli(*words, "--raw-scores", "--max-chunks-per-doc", "1").stdout)
    assert any(row["score"] < 0 for row in raw["results"])
    assert next(row for row in raw["results"] if row["index"] == 4)["truncated"]
    few = json.loads(cli(*words, "--long-documents", "skip", "--threshold", "0.0",
                         "--template", "technical").stdout)  # fmt: skip
    assert [one["index"] for one in few["unscored"]] == [4] and len(few["results"]) == 4
    assert few["instruction"].startswith("Given a technical problem")
