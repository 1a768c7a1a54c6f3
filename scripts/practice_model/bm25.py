"""A small BM25, the yardstick for the figures and the finder of hard negatives."""

from __future__ import annotations

import re

import numpy as np
import scipy.sparse as sparse

SATURATION = 1.2
LENGTH_WEIGHT = 0.75


def terms(text: str) -> list[str]:
    """Lower-case words and numbers, single Chinese characters, and pairs of neighbouring ones."""
    text = text.lower()
    found = re.findall(r"[a-z]+|\d+|[\u4e00-\u9fff]", text)
    for run in re.findall(r"[\u4e00-\u9fff]+", text):
        found += [run[i : i + 2] for i in range(len(run) - 1)]
    return found


def overlap(left: str, right: str) -> float:
    """Jaccard similarity of the term sets; above about 0.5 two texts say nearly the same."""
    a, b = set(terms(left)), set(terms(right))
    return len(a & b) / max(1, len(a | b))


class Index:
    """BM25 over a fixed list of documents."""

    def __init__(self, documents: list[str]) -> None:
        self.vocabulary: dict[str, int] = {}
        rows, columns, counts = [], [], []
        for row, document in enumerate(documents):
            for term in terms(document):
                rows.append(row)
                columns.append(self.vocabulary.setdefault(term, len(self.vocabulary)))
                counts.append(1.0)
        shape = (len(documents), max(1, len(self.vocabulary)))
        matrix = sparse.csr_matrix((counts, (rows, columns)), shape=shape, dtype=np.float32)
        matrix.sum_duplicates()
        lengths = np.asarray(matrix.sum(axis=1)).ravel()
        document_frequency = np.diff(matrix.tocsc().indptr)
        inverse = np.log(1 + (shape[0] - document_frequency + 0.5) / (document_frequency + 0.5))
        matrix = matrix.tocoo()
        damping = SATURATION * (
            1 - LENGTH_WEIGHT + LENGTH_WEIGHT * lengths[matrix.row] / max(lengths.mean(), 1e-9)
        )
        weights = inverse[matrix.col] * matrix.data * (SATURATION + 1) / (matrix.data + damping)
        self.weights = sparse.csr_matrix((weights, (matrix.row, matrix.col)), shape=shape)

    def scores(self, query: str) -> np.ndarray:
        """One score for each document."""
        columns = [self.vocabulary[t] for t in set(terms(query)) if t in self.vocabulary]
        return np.asarray(self.weights[:, columns].sum(axis=1)).ravel()

    def best(self, query: str, count: int) -> list[int]:
        """The indices of the best documents that share at least one term, best first."""
        scores = self.scores(query)
        order = np.argsort(-scores, kind="stable")[:count]
        return [int(i) for i in order if scores[i] > 0]
