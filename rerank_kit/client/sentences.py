"""Where a text may be parted: after sentences, in Chinese, English and a mix of both."""

from __future__ import annotations

import re

_CLOSERS = "\"'”’」』）)\\]】》"
_BORDER = re.compile(
    rf"(?:[。！？；…]+[{_CLOSERS}]*\s*)"  # Chinese needs no space after its full stop
    rf"|(?:[.!?]+[{_CLOSERS}]*(?=\s)\s+)"
    r"|(?:\n\s*)"
)
#: A point after these ends no sentence. Deliberately short: a border too few costs nothing.
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st vs etc e.g i.e fig no vol pp al inc ltd co jr sr approx dept est".split()
)
_LAST_WORD = re.compile(r"([A-Za-z][A-Za-z.]*)\.$")


def sentence_ends(text: str) -> list[int]:
    """Offsets just after each sentence and its white space; the last one is len(text).

    >>> text = "It costs 3.5 yuan, says Dr. Wu. 好的。明白！ Yes?"
    >>> [text[a:b] for a, b in zip([0, *sentence_ends(text)], sentence_ends(text))]
    ['It costs 3.5 yuan, says Dr. Wu. ', '好的。', '明白！ ', 'Yes?']
    """
    ends = []
    for found in _BORDER.finditer(text):
        if "." in found.group()[:1] and _is_abbreviation(text, found.start()):
            continue
        ends.append(found.end())
    if text and (not ends or ends[-1] != len(text)):
        ends.append(len(text))
    return ends


def _is_abbreviation(text: str, point: int) -> bool:
    word = _LAST_WORD.search(text[max(0, point - 12) : point + 1])
    if word is None:
        return False
    before = word.group(1)
    return before.lower() in _ABBREVIATIONS or (len(before) == 1 and before.isupper())
