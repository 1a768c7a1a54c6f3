"""Which language the reader has asked for."""

from __future__ import annotations

import os
import re

from rerank_kit.errors import InputError

#: How a language is called in itself.
LANGUAGES = {"en": "English", "zh": "中文"}


def default_language() -> str:
    """RERANK_KIT_LANGUAGE: en (the default) or zh, and its common spellings (zh_CN, zh-Hans)."""
    return checked(os.environ.get("RERANK_KIT_LANGUAGE") or "en")


def checked(language: str) -> str:
    """The key of a language. Raises InputError for one that the panels do not speak."""
    short = re.split(r"[-_.]", language.lower())[0]
    if short not in LANGUAGES:
        raise InputError(
            f"The panels do not speak {language!r}.", hint=f"use one of {', '.join(LANGUAGES)}"
        )
    return short
