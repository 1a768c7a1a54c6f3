"""Does the first result stay when nothing that matters changes? On live servers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import cli

from rerank_kit import Reranker, Server, launch, machine
from rerank_kit.client.jobs import Outcome
from rerank_kit.errors import FileInputError, InputError
from rerank_kit.search import Bm25, Document, Everything, Labelled, Search, shipped
from rerank_kit.search.labelled import Query
from rerank_kit.search.stability import (
    changed_wording,
    other_server,
    read_rewordings,
    shipped_rewordings,
    shuffled_documents,
    stability_text,
)

#: Two documents with the same text: which of them is first is a matter of order alone.
TWINS = Labelled(
    "twins",
    (Document("a", "Water a cactus every two weeks."),
     Document("b", "Water a cactus every two weeks."), Document("c", "A cactus in a museum")),
    (Query("q", "how often do I water a cactus", {"a": 1}),),
)  # fmt: skip


def few(name: str, count: int = 6) -> Labelled:
    """The queries of a corpus that have a rewording, the first ones of them."""
    labelled, texts = shipped(name), shipped_rewordings(name)
    kept = [query for query in labelled.queries if query.id in texts][:count]
    return replace(labelled, queries=tuple(kept))


def test_a_reranker_does_not_care_for_the_order_of_the_documents(reranker: Reranker) -> None:
    labelled = few("support")
    search = Search(Bm25(labelled.documents), reranker, raw_scores=True)
    found = shuffled_documents(labelled, search, depth=12, shuffles=2)
    assert (found.compared, found.same_first, found.moved) == (12, 12, ())
    assert found.largest_score_change < 1e-3 and found.scores == "logits"


class Rounded(Reranker):
    """A tie is exact in whatever batch the two texts are (a last digit may differ)."""

    def score_pairs(self, *words: Any, **options: Any) -> list[Outcome]:
        found = super().score_pairs(*words, **options)
        return [replace(one, score=round(one.score or 0.0, 3)) for one in found]


def test_a_first_result_that_is_a_matter_of_order_is_found(server: Server) -> None:
    search = Search(Everything(TWINS.documents), Rounded(server.url), raw_scores=True)
    found = shuffled_documents(TWINS, search, shuffles=8)
    assert 0 < found.same_first < found.compared == 8
    assert {one.first_after for one in found.moved} == {"b"}
    assert found.moved[0].lead == pytest.approx(0, abs=1e-3)
    assert found.answer_before == 8 and found.answer_after == found.same_first
    said = stability_text([found])
    assert "documents shuffled 8 times" in said and "a -> b" in said


def test_other_words_for_the_same_question(reranker: Reranker) -> None:
    labelled = few("support")
    search = Search(Bm25(labelled.documents), reranker, raw_scores=True)
    texts = shipped_rewordings("support")
    found = changed_wording(labelled, search, texts, depth=12)
    assert found.compared == sum(len(texts[query.id]) for query in labelled.queries)
    assert found.largest_score_change is None
    for query in labelled.queries:  # what it counts is what two searches by hand give
        firsts = [search.run(text, 12) for text in (query.text, *texts[query.id])]
        moved = {one.query for one in found.moved}
        same = len({one[0].document.id if len(one) else "" for one in firsts}) == 1
        assert (query.text not in moved) == same
    unchanged = changed_wording(labelled, search, {q.id: [q.text] for q in labelled.queries})
    assert unchanged.share == 1.0
    with pytest.raises(InputError, match="no rewording"):
        changed_wording(labelled, search, {"other": ["x"]})


def test_rewordings_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rewordings.jsonl"
    path.write_text('{"query-id": "q1", "text": "one"}\n{"query": "q1"}\n', encoding="utf-8")
    with pytest.raises(FileInputError, match="Line 2"):
        read_rewordings(path)


def test_stability_command(server: Server, tmp_path: Path) -> None:
    rewordings = tmp_path / "rewordings.jsonl"
    rewordings.write_text(
        json.dumps({"query-id": "q008", "text": "苹果电脑的系统要求"}) + "\n", encoding="utf-8"
    )
    words = ("evaluate", "--corpus-name", "support", "--languages", "same", "--stability",
             "--shuffles", "1", "--depth", "4", "--rewordings", str(rewordings))  # fmt: skip
    shown = cli(*words)
    assert shown.returncode == 0, shown.stderr
    assert "documents shuffled 1 times" in shown.stdout and "practice" in shown.stdout
    assert "lower precision was not tried" in shown.stdout
    data = json.loads(cli(*words, "--other-url", server.url, "--json").stdout)
    changes = {one["change"]: one for one in data["stability"]}
    assert changes["scored by the other server"]["share"] == 1.0
    assert changes["queries worded differently"]["compared"] == 1


@pytest.mark.full
def test_the_same_model_in_half_precision(server: Server, own_state: Path) -> None:
    """Bfloat16 moves logits visibly, and moves a first result only where it was close."""
    labelled = few("support", 10)
    search = Search(Bm25(labelled.documents), server.reranker(), raw_scores=True)
    port = machine.free_port()
    with launch("practice", port=port, extra_args=["--dtype", "bfloat16"]) as half:
        found = other_server(labelled, search, half.reranker(), depth=12)
    print(stability_text([found]))
    assert 1e-4 < found.largest_score_change < 1
    for one in found.moved:
        assert one.lead is None or one.lead < 2 * found.largest_score_change
