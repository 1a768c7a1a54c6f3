"""Which language the reader has asked for."""

from __future__ import annotations

import os
import re

#: How a language is called in itself.
LANGUAGES = {"en": "English", "zh": "中文"}
VARIABLE = "RERANK_KIT_LANGUAGE"


def language_of(name: str) -> str | None:
    """The key of a language by one of its common spellings: zh, zh_CN, zh-Hans, en_US.UTF-8. None
    for one that is not ours."""
    short = re.split(r"[-_.]", name.lower())[0]
    return short if short in LANGUAGES else None


def asked_for() -> str:
    """What RERANK_KIT_LANGUAGE says; en where it says nothing."""
    return os.environ.get(VARIABLE) or "en"
