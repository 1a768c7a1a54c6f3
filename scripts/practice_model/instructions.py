"""The simple instructions that the practice model is meant to follow, in several wordings.

The wordings under HELD_OUT are never trained on: they show whether the model follows the meaning
or only the very sentence.
"""

from __future__ import annotations

from . import prompt

DEFAULT = "default"
PREFER_CHINESE = "prefer documents written in Chinese"
PREFER_ENGLISH = "prefer documents written in English"
PREFER_CODE = "prefer program code"

TRAINED = {
    DEFAULT: (
        prompt.DEFAULT_INSTRUCTION,
        prompt.DEFAULT_INSTRUCTION,
        prompt.DEFAULT_INSTRUCTION,
        prompt.DEFAULT_INSTRUCTION,
        "Retrieve relevant documents",
        "Given a question, find the passage that answers it",
        "Given a product search query, retrieve relevant items",
        "Find documents that match the description",
        "根据查询检索相关的文档",
        "给定一个搜索查询，找出能回答它的段落",
    ),
    PREFER_CHINESE: (
        "Prefer documents written in Chinese",
        "Retrieve passages that answer the query, and prefer documents written in Chinese",
        "Prefer Chinese documents",
        "Find relevant passages in Chinese",
        "The answer should be written in Chinese",
        "优先选择中文文档",
        "请优先返回用中文写的文档",
        "检索能回答查询的中文段落",
        "只要中文内容",
    ),
    PREFER_ENGLISH: (
        "Prefer documents written in English",
        "Retrieve passages that answer the query, and prefer documents written in English",
        "Prefer English documents",
        "Find relevant passages in English",
        "The answer should be written in English",
        "优先选择英文文档",
        "请优先返回用英文写的文档",
        "检索能回答查询的英文段落",
        "只要英文内容",
    ),
    PREFER_CODE: (
        "Prefer program code",
        "Retrieve passages that answer the query, and prefer program code",
        "Prefer documents that contain source code",
        "Find code that solves the task",
        "优先选择程序代码",
        "请优先返回代码示例",
        "检索能完成任务的代码",
    ),
}

HELD_OUT = {
    PREFER_CHINESE: ("Retrieve relevant documents and prefer those in Chinese", "优先返回中文资料"),
    PREFER_ENGLISH: ("Retrieve relevant documents and prefer those in English", "优先返回英文资料"),
    PREFER_CODE: ("Retrieve relevant documents and prefer code", "优先返回程序代码示例"),
}
