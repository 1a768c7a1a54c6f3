"""The way of many pairs to their scores: bounded requests, long documents apart, order kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from rerank_kit.client.engines import Answer, Batch, Engine, ServedModel
from rerank_kit.client.jobs import (
    Outcome,
    Pair,
    Settings,
    Work,
    as_given,
    in_parallel,
    query_too_long,
    too_long,
    without_tokenizer,
)
from rerank_kit.client.long_documents import LEAST_ROOM_TOKENS, SPARE_TOKENS, Split, split
from rerank_kit.client.tokenizer import ServerTokenizer, is_without_tokenizer
from rerank_kit.client.transport import Transport
from rerank_kit.errors import PayloadTooLargeError, RequestError, RequestTooLongError

#: Pairs in one request. Big enough to fill vLLM's batches, small enough to show progress
#: and to keep one answer well under a minute on two CPU cores with the practice model.
PAIRS_PER_REQUEST = 256
#: Text in one request; a single larger document travels alone. Far below what vLLM takes, and
#: what a proxy refuses (HTTP 413) is halved until it passes.
BYTES_PER_REQUEST = 2_000_000
#: Requests under way at once: while one is scored, the next is already there. One thread of
#: vLLM renders all prompts, so more than this only makes the queue longer.
REQUESTS_AT_ONCE = 2
#: Long documents whose tokens are counted at once, before they are parted.
_COUNTED_AT_ONCE = 4
#: No ordinary text has tokens this long: beyond it a document is counted before it is sent.
_BYTES_PER_TOKEN = 16
Progress = Callable[[int, int], object]


class Scorer:
    """Scores pairs through one engine. Raises on anything that concerns the whole call; what
    concerns one pair is its Outcome."""

    def __init__(
        self,
        transport: Transport,
        engine: Engine,
        served: ServedModel,
        settings: Settings,
        tokenizer: ServerTokenizer,
    ) -> None:
        self._transport = transport
        self._engine = engine
        self._served = served
        self._settings = settings
        self._tokenizer = tokenizer
        self.work = Work()

    def score(
        self, pairs: list[Pair], on_progress: Progress = lambda done, total: None
    ) -> list[Outcome]:
        """One outcome for each pair, in order. on_progress is told how many more
        are done, and how many there are (passages count)."""
        plans = self._plans(pairs)
        flat: list[Pair] = []
        for pair, plan in zip(pairs, plans, strict=True):
            if isinstance(plan, Split):  # its passages share requests with everybody's
                flat += _parts(pair, plan)
            elif plan is None:
                flat.append(pair)
        scored = iter(self._score_all(flat, on_progress))
        outcomes = []
        for pair, plan in zip(pairs, plans, strict=True):
            if isinstance(plan, Split):
                outcomes.append(self._pooled(pair, plan, list(islice(scored, len(plan.passages)))))
            else:
                outcomes.append(plan or next(scored))
        return outcomes

    def _score_all(
        self, pairs: list[Pair], on_progress: Progress = lambda done, total: None
    ) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        batches = list(self._batches(list(enumerate(pairs))))

        def run(batch: list[tuple[int, Pair]]) -> list[tuple[int, Outcome]]:
            places = [place for place, _ in batch]
            return list(zip(places, self._send([pair for _, pair in batch]), strict=True))

        for done in in_parallel(run, batches, REQUESTS_AT_ONCE):
            outcomes |= dict(done)
            on_progress(len(done), len(pairs))
        return [outcomes[place] for place in range(len(pairs))]

    def _batches(self, items: list[tuple[int, Pair]]) -> Iterator[list[tuple[int, Pair]]]:
        """Neighbours together, within the limits; one instruction (and for some engines one
        query) to a request."""
        limit = min(PAIRS_PER_REQUEST, self._served.max_pairs or PAIRS_PER_REQUEST)
        waiting: dict[object, list[tuple[int, Pair]]] = {}
        sizes: dict[object, int] = {}
        for item in items:
            pair = item[1]
            only = pair.query if self._engine.one_query_per_request else None
            key = (pair.instruction, only)
            size = pair.size + len(pair.query.encode())
            group = waiting.setdefault(key, [])
            if group and (len(group) == limit or sizes[key] + size > BYTES_PER_REQUEST):
                yield group
                group = waiting[key] = []
                sizes[key] = 0
            group.append(item)
            sizes[key] = sizes.get(key, 0) + size
        yield from (group for group in waiting.values() if group)

    def _send(self, pairs: list[Pair]) -> list[Outcome]:
        """One request; what turns out too long or too large is parted and sent again."""
        try:
            answer = self._request(pairs)
        except RequestTooLongError as error:
            return self._without_the_too_long(pairs, error)
        except PayloadTooLargeError as error:
            if len(pairs) == 1:
                return [Outcome(error=error)]
            middle = len(pairs) // 2
            return self._send(pairs[:middle]) + self._send(pairs[middle:])
        return [Outcome(score=score) for score in answer.scores]

    def _request(self, pairs: list[Pair]) -> Answer:
        batch = Batch(
            tuple((pair.query, pair.document) for pair in pairs),
            self._served.name,
            pairs[0].instruction,
            self._settings.max_tokens_per_doc,
            self._settings.raw_scores,
        )
        answer = self._engine.score(self._transport, batch)
        self.work.add(answer.prompt_tokens)
        return answer

    # Too long: the server refuses the whole request and does not say which pair it was.

    def _without_the_too_long(
        self, pairs: list[Pair], error: RequestTooLongError
    ) -> list[Outcome]:
        if len(pairs) == 1:
            return [self._long(pairs[0], error)]
        try:
            fits = [self._fits(pair) for pair in pairs]
        except RequestError as failure:
            if not is_without_tokenizer(failure):
                raise
            fits = []
        if all(fits):  # nobody can say which: halves tell
            middle = len(pairs) // 2
            return self._send(pairs[:middle]) + self._send(pairs[middle:])
        good = [pair for pair, short in zip(pairs, fits, strict=True) if short]
        scored = iter(self._send(good) if good else [])
        return [
            next(scored) if short else self._long(pair, error)
            for pair, short in zip(pairs, fits, strict=True)
        ]

    def _room(self, pair: Pair) -> int | None:
        """Tokens that a document may have beside this query; None where nobody says."""
        if self._served.max_model_len is None:
            return None
        overhead = self._tokenizer.overhead(pair.query, pair.instruction)
        return self._served.max_model_len - overhead

    def _fits(self, pair: Pair) -> bool:
        room = self._room(pair)
        cut = self._settings.max_tokens_per_doc
        if room is None:
            return True
        if cut is not None:
            return min(cut, pair.size) <= room
        # A token is at least one byte, so short texts need not be counted.
        return pair.size <= room or self._tokenizer.count(pair.document) <= room

    # Long documents.

    def _plans(self, pairs: list[Pair]) -> list[Split | Outcome | None]:
        """Before anything is sent: how each pair is parted; None: it is sent as it is."""
        plans: list[Split | Outcome | None] = [None] * len(pairs)
        suspects = [place for place, pair in enumerate(pairs) if self._may_need_parting(pair)]

        def plan(place: int) -> tuple[int, Split | Outcome | None]:
            return place, self._plan(pairs[place])

        for place, made in in_parallel(plan, suspects, _COUNTED_AT_ONCE):
            plans[place] = made
        return plans

    def _may_need_parting(self, pair: Pair) -> bool:
        if self._settings.max_tokens_per_doc is not None:
            return False  # the server cuts
        size, context = self._settings.long.passage_tokens, self._served.max_model_len
        if size is not None:
            return pair.size > size
        return context is not None and pair.size > _BYTES_PER_TOKEN * context

    def _plan(self, pair: Pair) -> Split | Outcome | None:
        size = self._settings.long.passage_tokens
        try:
            if size is not None:
                short = self._tokenizer.count(pair.document) <= size and self._fits(pair)
                return None if short else self._split(pair, size)
            return None if self._fits(pair) else self._by_choice(pair, "")
        except RequestError as failure:
            if not is_without_tokenizer(failure):
                raise
            return None

    def _long(self, pair: Pair, error: RequestTooLongError) -> Outcome:
        """A pair that the server refused for its length."""
        try:
            plan = self._by_choice(pair, error.evidence)
        except RequestError as failure:
            if not is_without_tokenizer(failure):
                raise
            plan = Outcome(error=without_tokenizer(pair, error.evidence))
        if isinstance(plan, Outcome):
            return plan
        return self._pooled(pair, plan, self._score_all(_parts(pair, plan)))

    def _by_choice(self, pair: Pair, evidence: str) -> Split | Outcome:
        """What the user wants done with a pair that does not fit."""
        if self._settings.long.mode in ("skip", "error"):
            return Outcome(error=too_long(pair, evidence))
        room = self._room(pair)
        if room is None:
            return Outcome(error=without_tokenizer(pair, evidence))
        return self._split(pair, min(self._settings.max_tokens_per_doc or room, room))

    def _split(self, pair: Pair, size: int) -> Split | Outcome:
        long = self._settings.long
        room = self._room(pair)
        if room is not None:
            size = min(size, room - SPARE_TOKENS)
        size >>= pair.depth  # a part that is still too long (counts were estimates): smaller ones
        if size < LEAST_ROOM_TOKENS:
            return Outcome(error=query_too_long(pair, self._served.max_model_len, room or 0))
        only_first = long.mode == "cut" or self._settings.max_tokens_per_doc is not None
        limit = 1 if only_first else long.max_chunks_per_doc
        return split(pair.document, self._tokenizer, size, long.overlap_tokens, limit)

    def _pooled(self, pair: Pair, parts: Split, scored: list[Outcome]) -> Outcome:
        """The outcomes of a document's passages -> its own."""
        failed = next((outcome.error for outcome in scored if outcome.error), None)
        if failed is not None:
            return Outcome(error=failed)
        scores = [outcome.score for outcome in scored if outcome.score is not None]
        passages = as_given(pair, parts.passages, scores)
        return Outcome(self._settings.long.pool(scores), None, passages, not parts.complete)


def _parts(pair: Pair, plan: Split) -> list[Pair]:
    return [replace(pair, document=part.text, depth=pair.depth + 1) for part in plan.passages]
