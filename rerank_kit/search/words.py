"""Texts as lists of words: what BM25 compares. Chinese is cut by jieba, the rest at its spaces."""

from __future__ import annotations

import functools
import logging
import warnings
from typing import Any

from rerank_kit.search.needs import need


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation.

    Long Chinese words are kept together with the shorter words in them (数据库, 数据), so that a
    query for the part finds the whole.
    """
    found = (word.strip().lower() for word in _cutter().lcut_for_search(text))
    return [word for word in found if any(character.isalnum() for character in word)]


@functools.cache
def _cutter() -> Any:
    """jieba with its dictionary loaded, without its log lines and without the syntax warnings
    that its sources give when Python 3.12 compiles them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jieba = need("jieba", "Search among Chinese texts")
    jieba.setLogLevel(logging.ERROR)
    return jieba
