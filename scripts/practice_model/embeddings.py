"""Gives every token a first vector from which texts of like meaning already lie close together.

Counts which tokens occur near each other and on both sides of translations, turns the counts into
positive pointwise mutual information and keeps the strongest directions (singular vectors).
Tokens that differ only in case or a leading space share their counts and so their vector. Chinese
is counted twice, by words and by characters, so that a word lies near its characters.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg
from tokenizers import Tokenizer

from .sources import HAN
from .texts import Texts

WINDOW_TOKENS = 6
NEAR_TOKENS = 2
SMOOTHING = 0.75
PASSAGE_PAIR_WEIGHT = 6.0
MESSAGE_PAIR_WEIGHT = 6.0
WORD_PAIR_WEIGHT = 40.0
TOPIC_PAIR_WEIGHT = 0.3
CHARACTER_COUNT_WEIGHT = 0.5
CHARACTERS_IN_A_WORD = 0.35


def shared_units(tokenizer: Tokenizer) -> np.ndarray:
    """For every token id the id of its representative: the same text stripped and lower-cased."""
    size = tokenizer.get_vocab_size()
    first: dict[str, int] = {}
    units = np.arange(size)
    for token_id in range(size):
        form = tokenizer.decode([token_id], skip_special_tokens=False).strip().lower()
        if form and "\ufffd" not in form:
            units[token_id] = first.setdefault(form, token_id)
    return units


def characters_of_words(tokenizer: Tokenizer) -> dict[int, list[int]]:
    """For every Chinese word among the tokens the ids of its characters."""
    found = {}
    for token_id in range(tokenizer.get_vocab_size()):
        text = tokenizer.decode([token_id])
        if len(text) > 1 and all(HAN.match(character) for character in text):
            found[token_id] = [tokenizer.encode(character).ids[0] for character in text]
    return found


class Counter:
    """Collects weighted co-occurrences of units."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.units = shared_units(tokenizer)
        self.size = len(self.units)
        self.characters = characters_of_words(tokenizer)
        self.entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def encode(self, texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each text as units, by words and by characters, after a space as inside a prompt."""
        encodings = self.tokenizer.encode_batch([" " + text for text in texts])
        found = []
        for item in encodings:
            single = [part for i in item.ids for part in self.characters.get(i, (i,))]
            found.append(tuple(self.units[np.array(ids, dtype=int)] for ids in (item.ids, single)))
        return found

    def add(self, rows: list[np.ndarray], columns: list[np.ndarray], weights: list) -> None:
        """Add weights at (row, column); the three lists run in parallel."""
        self.entries.append(tuple(map(np.concatenate, (rows, columns, weights))))

    def counts(self) -> sparse.csr_matrix:
        """All that was added, as one matrix."""
        rows, columns, weights = map(np.concatenate, zip(*self.entries, strict=True))
        return sparse.csr_matrix((weights, (rows, columns)), shape=(self.size, self.size))

    def add_windows(self, texts: list[str]) -> None:
        """Count tokens that stand within a few positions of each other in one text."""
        encoded = self.encode(texts)
        self._add_windows([words for words, _ in encoded], 1.0)
        self._add_windows(
            [c for words, c in encoded if len(c) > len(words)], CHARACTER_COUNT_WEIGHT
        )

    def _add_windows(self, texts: list[np.ndarray], share: float) -> None:
        gap = np.full(WINDOW_TOKENS, -1)
        flat = np.concatenate([gap, *(part for text in texts for part in (text, gap))])
        for distance in range(1, WINDOW_TOKENS + 1):
            left, right = flat[:-distance], flat[distance:]
            both = (left >= 0) & (right >= 0)
            weight = share * (1.0 if distance <= NEAR_TOKENS else 0.5)
            weights = np.full(int(both.sum()), weight, dtype=np.float32)
            self.add([left[both]], [right[both]], [weights])

    def add_pairs(self, lefts: list[str], rights: list[str], weight: float) -> None:
        """Count every token of one text with every token of its partner; long texts weigh less."""
        rows, columns, weights = [], [], []
        for ways in zip(self.encode(lefts), self.encode(rights), strict=True):
            for (left, right), share in zip(
                zip(*ways, strict=True), (1.0, CHARACTER_COUNT_WEIGHT), strict=True
            ):
                cells = len(left) * len(right)
                if share < 1.0 and len(left) + len(right) == sum(len(way[0]) for way in ways):
                    continue
                if 0 < cells <= 2_500:
                    rows.append(np.repeat(left, len(right)))
                    columns.append(np.tile(right, len(left)))
                    weights.append(np.full(cells, share * weight / cells**0.5, dtype=np.float32))
        if rows:
            self.add(rows, columns, weights)


def count_everything(texts: Texts, tokenizer: Tokenizer) -> Counter:
    """All co-occurrences of the training texts."""
    counter = Counter(tokenizer)
    concepts, messages = texts.train_concepts + texts.train_searches, texts.train_messages
    running = [f"{c.zh_query}。{c.zh_passage}" for c in concepts]
    running += [f"{c.en_query} . {c.en_passage}" for c in concepts]
    running = running * 2 + [side for pair in messages for side in (pair.zh, pair.en)]
    running += [f"{item.head} . {item.body}" for item in texts.docstrings]
    counter.add_windows(running)
    sides = ("zh_query", "en_query", "zh_passage", "en_passage")
    for i, left in enumerate(sides):
        for right in sides[i + 1 :]:
            pairs = ([getattr(c, side) for c in concepts] for side in (left, right))
            counter.add_pairs(*pairs, PASSAGE_PAIR_WEIGHT)
    for concept_side in ("zh_passage", "en_passage"):
        passages = [getattr(c, concept_side) for c in texts.train_concepts]
        for term in ("zh_term", "en_term"):
            terms = [getattr(c, term) for c in texts.train_concepts]
            counter.add_pairs(terms, passages, PASSAGE_PAIR_WEIGHT)
    counter.add_pairs([p.en for p in messages], [p.zh for p in messages], MESSAGE_PAIR_WEIGHT)
    words = [(p.zh, p.en) for p in texts.names]
    for zh, en in texts.glossary:
        synonyms = zh + en
        words += [(a, b) for i, a in enumerate(synonyms) for b in synonyms[i + 1 :]]
    topic_words = [pair for topic in texts.topics for pair in topic.words]
    counter.add_pairs(*map(list, zip(*(words + topic_words), strict=True)), WORD_PAIR_WEIGHT)
    for topic in texts.topics:
        together = [word for pair in topic.words for word in pair]
        crossed = [(a, b) for a in together for b in together if a != b]
        if crossed:
            counter.add_pairs(*map(list, zip(*crossed, strict=True)), TOPIC_PAIR_WEIGHT)
    return counter


def positive_information(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Positive pointwise mutual information with smoothed column frequencies."""
    counts = (counts + counts.T).tocsr()
    total = counts.sum()
    frequency = np.asarray(counts.sum(axis=1)).ravel() + 1
    smoothed = frequency**SMOOTHING
    smoothed = smoothed / smoothed.sum()
    cells = counts.tocoo()
    expected = frequency[cells.row] / total * smoothed[cells.col]
    information = np.log(np.maximum(cells.data / total / expected, 1e-9))
    keep = information > 0
    entries = (information[keep], (cells.row[keep], cells.col[keep]))
    return sparse.csr_matrix(entries, shape=counts.shape)


def token_vectors(
    texts: Texts, tokenizer: Tokenizer, dimensions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Unit-length first vectors (tokens x dimensions) and how often each token's unit occurs."""
    counter = count_everything(texts, tokenizer)
    counts = counter.counts()
    matrix = positive_information(counts)
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    left, strength, _ = scipy.sparse.linalg.svds(matrix, k=dimensions, v0=start)
    order = np.argsort(-strength)
    vectors = left[:, order] * strength[order] ** 0.5
    vectors = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6)
    for word, characters in counter.characters.items():
        vectors[word] += CHARACTERS_IN_A_WORD * vectors[counter.units[characters]].mean(axis=0)
    vectors = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6)
    frequency = np.asarray(counts.sum(axis=0)).ravel()
    return vectors[counter.units].astype(np.float32), frequency[counter.units]
