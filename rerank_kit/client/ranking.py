"""What a ranking looks like: ordered, with original indexes, readable when printed."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

from wcwidth import wcswidth, wcwidth

from rerank_kit.client.long_documents import Passage
from rerank_kit.client.scores import probability

if TYPE_CHECKING:
    import pandas

TEXT_COLUMNS = 72


@dataclass(frozen=True)
class RankedDocument:
    """One document of a ranking. rank counts from 1; index is its place in your list.

    text is yours, unchanged (empty with return_documents=False). passages: the parts that a
    long document was scored in, each with character offsets; passage: the best of them.
    truncated: the end of the document was not read. neutralised: the control tokens in it.
    """

    rank: int
    index: int
    score: float
    text: str
    id: str | None = None
    neutralised: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    truncated: bool = False

    @property
    def passage(self) -> Passage | None:
        """The passage that won, of a document scored in passages."""
        return max(self.passages, key=lambda one: one.score or 0.0) if self.passages else None

    def as_dict(self) -> dict[str, object]:
        result: dict[str, object] = {"index": self.index, "score": self.score}
        if self.text:
            result["text"] = self.text
        if self.id is not None:
            result["id"] = self.id
        if self.neutralised:
            result["neutralised"] = list(self.neutralised)
        if self.passage is not None:
            best = self.passage
            result["passage"] = {"start": best.start, "end": best.end, "score": best.score}
            result["passages"] = len(self.passages)
        if self.truncated:
            result["truncated"] = True
        return result


@dataclass(frozen=True)
class UnscoredDocument:
    """A document that has no score, and why."""

    index: int
    id: str | None
    reason: str


@dataclass(frozen=True)
class Ranking(Sequence[RankedDocument]):
    """Documents in order of relevance score, best first. Iterate, index, or print it.

    unscored: documents left out because they cannot be scored. prompt_tokens: what the server
    read, template included (None: it does not say, or the requests were shared with other
    queries). seconds: how long the call took. raw_scores: the scores are logits.
    """

    query: str
    instruction: str | None
    model: str
    documents: tuple[RankedDocument, ...]
    notes: tuple[str, ...] = ()
    unscored: tuple[UnscoredDocument, ...] = ()
    raw_scores: bool = False
    prompt_tokens: int | None = None
    seconds: float | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.documents)

    @overload
    def __getitem__(self, place: int) -> RankedDocument: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[RankedDocument]: ...
    def __getitem__(
        self, place: int | slice
    ) -> RankedDocument | Sequence[RankedDocument]:
        return self.documents[place]

    def __iter__(self) -> Iterator[RankedDocument]:
        return iter(self.documents)

    @property
    def scores(self) -> list[float]:
        """Scores in ranked order."""
        return [document.score for document in self.documents]

    def __repr__(self) -> str:
        return f"Ranking({len(self)} documents for {self.query!r})"

    def __str__(self) -> str:
        lines = [f"query: {self.query}"]
        if self.instruction:
            lines.append(f"instruction: {self.instruction}")
        lines += [f"model: {self.model}", "rank  score  index  document"]
        lines += [
            f"{doc.rank:>4}  {doc.score:.3f}  {doc.index:>5}  {clip(doc.text, TEXT_COLUMNS)}"
            for doc in self.documents
        ]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._html()}

    def _html(self) -> str:
        rows = "".join(
            f"<tr><td>{doc.rank}</td><td>{doc.score:.3f}</td>"
            f'<td style="text-align:left">{self._bar(doc.score)}</td><td>{doc.index}</td>'
            '<td style="text-align:left;white-space:pre-wrap">'
            f"{html.escape(clip(doc.text, 4 * TEXT_COLUMNS))}</td></tr>"
            for doc in self.documents
        )
        wording = html.escape(self.instruction or "")
        instruction = f"<br>instruction: {wording}" if wording else ""
        notes = "".join(f"<div>note: {html.escape(note)}</div>" for note in self.notes)
        return (
            f"<div>query: <b>{html.escape(self.query)}</b>{instruction}"
            f"<br>model: {html.escape(self.model)}</div>"
            "<table><thead><tr><th>rank</th><th>score</th><th></th><th>index</th>"
            f'<th style="text-align:left">document</th></tr></thead><tbody>{rows}</tbody></table>'
            f"{notes}"
        )

    def _bar(self, score: float) -> str:
        return _bar(probability(score) if self.raw_scores else score)

    def to_pandas(self) -> pandas.DataFrame:
        """rank, score, index, id, text as a DataFrame (needs the `notebooks` extra)."""
        import pandas

        columns = ("rank", "score", "index", "id", "text")
        rows = [[getattr(doc, name) for name in columns] for doc in self.documents]
        return pandas.DataFrame(rows, columns=list(columns))


@dataclass(frozen=True)
class Rankings(Sequence[Ranking]):
    """The rankings of several queries, in the order of the queries. The counts are of the whole
    call: its requests carry pairs of several queries."""

    rankings: tuple[Ranking, ...]
    requests: int = 0
    prompt_tokens: int | None = None
    seconds: float | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.rankings)

    @overload
    def __getitem__(self, place: int) -> Ranking: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Ranking]: ...
    def __getitem__(self, place: int | slice) -> Ranking | Sequence[Ranking]:
        return self.rankings[place]

    def __repr__(self) -> str:
        return f"Rankings({len(self)} queries)"

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.rankings))


def _bar(score: float) -> str:
    """A bar of characters, 10 for a score of 1: unlike a styled box it also shows in a saved
    notebook that the reader has not run."""
    eighths = round(80 * min(max(score, 0.0), 1.0))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def clip(text: str, columns: int) -> str:
    """text on one line, cut to a display width (a Chinese character takes two columns)."""
    line = " ".join(text.split())
    if wcswidth(line) <= columns and wcswidth(line) >= 0:
        return line
    width = 0
    kept: list[str] = []
    for character in line:
        step = max(wcwidth(character), 0)
        if width + step > columns - 1:
            return "".join(kept) + "…"
        width += step
        kept.append(character)
    return "".join(kept)
