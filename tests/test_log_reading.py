"""Logs as they come: prefixes, odd bytes and encodings, the newest line first, a flood."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest
from diagnosed_logs import FILES, LOGS

from rerank_kit.errors import FileInputError
from rerank_kit.server import newest_first
from rerank_kit.server.diagnosis import diagnose
from rerank_kit.server.logs import parse_line
from rerank_kit.server.newest_first import is_newest_first


def test_prefixes_colours_and_progress_bars() -> None:
    lines = [
        "\x1b[36m(RayWorkerWrapper pid=3, ip=10.0.0.1)\x1b[0m ERROR 04-17 15:11:18 [w.py:6] X: y",
        "vllm-1  | ERROR 11-18 18:07:36 engine.py:366] X: y",
        "2025-03-10T15:07:20.1Z stderr F ERROR 03-10 08:07:20 [core.py:302] X: y",
        "[2025-03-10T15:07:20Z] (VllmWorker rank=1 pid=9) ERROR 03-10 08:07:20 [a/b.py:3] X: y",
        '{"log":"ERROR 03-10 08:07:20 [core.py:302] X: y\\n","stream":"stderr"}',
    ]
    for line in lines:
        [message] = parse_line(line)
        assert (message.text, message.level) == ("X: y", "ERROR"), line
    assert [m.text for m in parse_line("0% done\r50% done\rOSError: no")][-1] == "OSError: no"


def test_binary_junk_and_missing_files(tmp_path: Path) -> None:
    junk = tmp_path / "junk.log"
    junk.write_bytes(bytes(range(256)) * 400)
    assert diagnose(junk).family == "unknown"
    endless = tmp_path / "endless.log"
    endless.write_bytes(b"x" * 9_000_000)
    assert diagnose(endless).family == "unknown"
    with pytest.raises(FileInputError):
        diagnose(tmp_path / "absent.log")
    with pytest.raises(FileInputError):
        diagnose(tmp_path)


#: Their lines carry times enough to tell the order.
TIMED = [path for path in FILES if not is_newest_first(path.read_bytes().split(b"\n"))
         and is_newest_first(reversed(path.read_bytes().split(b"\n")))]  # fmt: skip


@pytest.mark.parametrize("from_pipe", [False, True])
def test_a_log_with_its_newest_line_first_is_read_from_its_end(
    tmp_path: Path, from_pipe: bool
) -> None:
    """As the pages of log collectors list it: the consequence stands before its cause."""
    assert len(TIMED) > 80
    for path in TIMED:
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
        turned = tmp_path / "turned.log"
        turned.write_bytes(b"\n".join(reversed(lines)) + b"\n")
        if from_pipe:
            with turned.open(encoding="utf-8", errors="replace", newline="\n") as pipe:
                found = diagnose(iter(pipe))
        else:
            found = diagnose(turned)
        plain = diagnose(path)
        assert (found.family, found.confidence) == (plain.family, plain.confidence), path
        assert found.fixes == plain.fixes
        places = [item.line and len(lines) + 1 - item.line for item in found.evidence]
        assert places == [item.line for item in plain.evidence], path


def test_no_ordinary_log_is_taken_for_one_with_its_newest_line_first() -> None:
    turned = [path for path in FILES if is_newest_first(path.read_bytes().split(b"\n"))]
    assert {path.stem for path in turned} == {
        "newest_first_collector", "newest_first_09", "newest_first_json"
    }  # fmt: skip


def test_a_file_is_read_backwards_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "any.log"
    for text in (b"", b"one", b"one\n", b"a\nbb\n\nccc\n", b"\n\n", b"abc\n" * 9 + b"d"):
        path.write_bytes(text)
        lines = text.removesuffix(b"\n").split(b"\n")
        for size in (1, 2, 3, 5, 100):
            monkeypatch.setattr(newest_first, "CHUNK_BYTES", size)
            blocks = newest_first.Backwards(path, len(lines)).blocks()
            assert [line for block in blocks for line in block.split(b"\n")] == lines[::-1]


def test_windows_encoding(tmp_path: Path) -> None:
    path = tmp_path / "powershell.log"
    path.write_text("OSError: [Errno 28] No space left on device\n", encoding="utf-16")
    assert diagnose(path).family == "disk_full"


def test_a_long_healthy_log_is_read_quickly(tmp_path: Path) -> None:
    """50 MB in under 2 s on an idle machine; a tenth of it here, with room for a busy one."""
    head = (LOGS / "none" / "healthy_032.log").read_text()
    line = '(APIServer pid=4101) INFO:     127.0.0.1:{} - "POST /v1/rerank HTTP/1.1" 200 OK\n'
    path = tmp_path / "long.log"
    path.write_text(head + "".join(line.format(i) for i in range(60_000)))
    start = time.process_time()
    assert diagnose(path).family == "none"
    assert time.process_time() - start < 2


@pytest.mark.parametrize("start", ["", "ERROR 11-20 09:51:02 [x.py:1] ", '  File "a", line 1, in '])
def test_a_flood_of_different_lines_is_read_quickly_and_hides_nothing(
    tmp_path: Path, start: str
) -> None:
    """50 MB in about 2 s on an idle machine; 2 MB here, with room for a busy one."""
    random = Random(1)
    words = ["".join(random.choices("etaoinshrdlu", k=6)) for _ in range(2000)]
    words += "not memory error failed is required version driver GPU CUDA does took".split() * 50
    flood = [start + " ".join(random.choices(words, k=12)) + "\n" for _ in range(20_000)]
    cause = "ERROR 11-20 09:51:22 [core.py:1510] ValueError: No available memory for the cache\n"
    cause = cause.replace("the cache", "the cache blocks. Try increasing")
    for place in (10, 13_000, 20_000):
        path = tmp_path / "flood.log"
        path.write_text("".join([*flood[:place], cause, *flood[place:]]))
        began = time.process_time()
        found = diagnose(path)
        assert time.process_time() - began < 8
        assert (found.family, found.evidence[0].line) == ("kv_cache_too_small", place + 1)
