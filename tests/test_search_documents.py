"""A folder of mixed files as documents, and what is read again the second time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mixed_folder import make_pdf

from rerank_kit.errors import FileInputError
from rerank_kit.search.documents import read_folder
from rerank_kit.search.formats import PART_CHARACTERS


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANK_KIT_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "texts"
    (root / "sub").mkdir(parents=True)
    (root / "note.txt").write_text("Water the cactus every two weeks.", encoding="utf-8")
    (root / "sub" / "指南.md").write_text(
        "---\ntags: [x]\n---\n# 退款\n三天内到账。\n## 例外\n礼品码不退。\n", encoding="utf-8"
    )
    (root / "page.html").write_text(
        "<html><head><title>Opening hours</title><script>var x=1</script></head>"
        "<body><nav>Home</nav><p>We open at <b>nine</b>.</p></body></html>",
        encoding="utf-8",
    )
    make_pdf(root / "manual.pdf", ["Press the red button twice", "The lamp turns blue"])
    (root / "goods.csv").write_text(
        "sku,title,tags,description,price\n"
        '1,Desk lamp,"light, office",Warm to cold,30\n2,台灯,照明,可充电,99\n',
        encoding="utf-8",
    )
    (root / "faq.jsonl").write_text(
        json.dumps({"question": "Is it safe?", "answer": "Yes.", "n": 3}) + "\n", encoding="utf-8"
    )
    (root / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    (root / ".secret.txt").write_text("hidden", encoding="utf-8")
    return root


def test_every_kind_of_file_becomes_documents(folder: Path) -> None:
    library = read_folder(folder)
    found = {document.id: document for document in library.documents}
    assert set(found) == {
        "note.txt", "sub/指南.md", "page.html", "manual.pdf#1", "manual.pdf#2",
        "goods.csv#1", "goods.csv#2", "faq.jsonl",
    }  # fmt: skip
    assert found["sub/指南.md"].title == "退款" and "礼品码不退" in found["sub/指南.md"].text
    assert "tags" not in found["sub/指南.md"].whole
    assert found["page.html"].title == "Opening hours"
    assert "nine" in found["page.html"].text
    assert "var x" not in found["page.html"].text and "Home" not in found["page.html"].text
    assert found["manual.pdf#2"].text == "The lamp turns blue"
    assert found["manual.pdf#2"].title == "manual, page 2"
    assert found["goods.csv#1"].title == "Desk lamp"
    assert found["goods.csv#1"].text == "light, office\nWarm to cold"  # no price, no sku
    assert found["faq.jsonl"].whole == "Is it safe?\nYes."
    assert library.notes == ()


def test_chosen_columns_are_put_together_in_the_order_given(folder: Path) -> None:
    tables = folder.parent / "tables"
    tables.mkdir()
    (folder / "goods.csv").rename(tables / "goods.csv")
    first = read_folder(tables, ["Price", "description"]).documents[0]
    assert first.whole == "30\nWarm to cold"
    with pytest.raises(FileInputError) as caught:
        read_folder(tables, ["colour"])
    assert "colour" in caught.value.evidence and "description" in caught.value.evidence


def test_only_changed_files_are_read_the_second_time(folder: Path) -> None:
    first = read_folder(folder)
    assert (first.read, first.kept) == (6, 0)
    again = read_folder(folder)
    assert (again.read, again.kept) == (0, 6)
    assert again.documents == first.documents
    changed = folder / "note.txt"
    changed.write_text("Water the cactus every three weeks.", encoding="utf-8")
    os.utime(changed, ns=(1, 1))  # an older time than before is a change as well
    (folder / "page.html").unlink()
    third = read_folder(folder)
    assert (third.read, third.kept) == (1, 4)
    texts = [document.text for document in third.documents]
    assert any("three weeks" in text for text in texts) and not any("nine" in t for t in texts)


def test_what_cannot_be_read_is_named_and_the_rest_is_kept(folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing here")
    make_pdf(folder / "scan.pdf", [""])
    (folder / "old.txt").write_bytes("中文".encode("gb18030"))
    (folder / "bad.jsonl").write_text("{not json\n", encoding="utf-8")
    library = read_folder(folder)
    assert len(library.documents) == 8
    said = "\n".join(library.notes)
    for name in ("broken.pdf", "scan.pdf", "old.txt", "bad.jsonl"):
        assert name in said
    assert "scanned" in said and "UTF-8" in said


def test_nothing_to_read_and_no_folder_are_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileInputError, match="is not a folder"):
        read_folder(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileInputError) as caught:
        read_folder(tmp_path / "empty")
    assert ".pdf" in caught.value.hint


@pytest.mark.parametrize("text", [
    "\n\n".join(f"Paragraph {n}. " + "It says a little more. " * 12 for n in range(40)),
    "。".join(f"第{n}句话说明了一件很小的事情" for n in range(600)),
    "x" * 20_000,
])  # fmt: skip
def test_long_files_are_cut_into_documents_and_nothing_is_lost(tmp_path: Path, text: str) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "long.txt").write_text(text, encoding="utf-8")
    documents = read_folder(tmp_path / "texts").documents
    assert len(documents) > 5
    assert all(len(document.text) <= 1.3 * PART_CHARACTERS for document in documents)
    assert "".join("".join(d.text for d in documents).split()) == "".join(text.split())
    assert len({document.id for document in documents}) == len(documents)
