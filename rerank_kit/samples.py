"""A few own texts, Chinese and English, for the demo and the first notebook."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A query and documents to rank; best is the index of the one a person would choose."""

    query: str
    documents: tuple[str, ...]
    best: int


SAMPLES = (
    Sample(
        "适合程序员的机械键盘",
        (
            "如何学习Python编程",
            "纯棉四件套，亲肤透气",
            "这款青轴机械键盘手感清脆，适合长时间敲代码",
            "新鲜草莓，当天采摘",
            "静音红轴键盘，办公室使用不打扰同事",
        ),
        2,
    ),
    Sample(
        "how to fix redis connection timeout",
        (
            "To fix a leaking tap, first turn off the water supply.",
            "Redis connection timeouts are usually fixed by raising the client timeout and "
            "checking the connection pool size.",
            "Bake the cake at 180 degrees for thirty minutes.",
            "Redis is an in-memory data store used as a cache and message broker.",
        ),
        1,
    ),
    Sample(
        "数据库连接超时怎么办",
        (
            "今天天气很好，适合出去散步",
            "MySQL 查询很慢时可以添加索引",
            "红烧肉的做法：先把五花肉焯水",
            "如果数据库连接超时，请检查连接池配置和网络延迟",
        ),
        3,
    ),
)

#: For models without recorded answers: the first document answers the query, the second does
#: not, and a server that reads the official prompt tells them apart by at least the margin.
KNOWN_QUERY = "What is the capital of China?"
KNOWN_DOCUMENTS = (
    "The capital of China is Beijing.",
    "Bake the cake at 180 degrees for thirty minutes.",
)
KNOWN_MARGIN = 0.2
