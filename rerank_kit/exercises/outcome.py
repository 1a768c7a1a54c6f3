"""What a check replies: this word, or a hint, never the answer. In the language of the reader
(RERANK_KIT_LANGUAGE), who sees nothing else of the exercise's code."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from rerank_kit.language import localised

_Answers = ParamSpec("_Answers")

PASS = localised("pass")


def reply(check: Callable[_Answers, str]) -> Callable[_Answers, str]:
    """A check whose hints reach a Chinese reader in Chinese: exercises_zh_CN.po has them."""

    @wraps(check)
    def replying(*answers: _Answers.args, **named: _Answers.kwargs) -> str:
        said = check(*answers, **named)
        return said if said == PASS else localised(said)

    return replying
