"""Is a text that a Chinese reader is shown Chinese, English, or half and half?"""

from __future__ import annotations

import re

import pytest

from rerank_kit.language import translation

#: Words that are the same in every language: commands, flags, settings, paths, code.
CODE = re.compile(
    r"`[^`]*`|https?://\S+|\"[^\"]*\"|\brerank-kit [a-z]+|\bbash \S+|\bpip install\b|\bSSH\b|"
    r"(?<!\w)--?[\w-]+|\S*[/_=|<>]\S*"
)


#: What is called the same in Chinese, with spaces in it.
CALLED = re.compile(
    "NVIDIA Container Toolkit|kubectl describe pvc|git lfs pull|over exposed TCP|apt-get install|"
    "query, document, label|sha256sum"
)
#: A place in a message for any name may have swallowed such a word.
SMALL_WORDS = re.compile(r"\b(The|the|an|of|is|are|its|this|that|has|was|with|for|from|not)\b")


def half_english(shown: str) -> bool:
    """Whether English is left in a text that is shown in Chinese: three words in a row, or a word
    that no name has."""
    words = CODE.sub(" | ", CALLED.sub(" | ", shown))
    in_a_row = re.search(r"[A-Za-z']{2,}[,:;]? [A-Za-z']{2,}[,:;]? [A-Za-z']{2,}", words)
    return bool(in_a_row or has_chinese(shown) and SMALL_WORDS.search(words))


def of_our_own(text: str) -> bool:
    return bool(re.search(r"[A-Za-z]{3}", CODE.sub(" ", text)))


def has_chinese(text: str) -> bool:
    return bool(re.search(r"[\u4e00-\u9fff]", text))


def forget(monkeypatch: pytest.MonkeyPatch, english: str) -> None:
    """As if the catalogue had no Chinese for this message."""
    exact, patterns = translation._catalogue()
    gone = translation._pattern(english).pattern
    less = {key: value for key, value in exact.items() if key != english}
    fewer = [one for one in patterns if one[0].pattern != gone]
    assert len(less) + len(fewer) == len(exact) + len(patterns) - 1
    monkeypatch.setattr(translation, "_catalogue", lambda: (less, fewer))
