"""What collectors, loggers and processes write before a message, and how to take it off."""

from __future__ import annotations

import re

_LOUD = r"TRACE|DEBUG|INFO|NOTICE|WARNING|WARN|ERROR|CRITICAL|FATAL"
_LEVELS = rf"{_LOUD}|[Ii]nfo|[Ww]arning|[Ee]rror"
_CLOCK = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?Z| ?[+-]\d\d:?\d\d)?"

#: What comes before the message, each stripped as often as it appears. A `stream` says which
#: process speaks, a `level` how serious the program thinks it is.
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        # vLLM 0.6 to 0.8: "ERROR 04-09 05:39:54 core.py:390] "; since 0.8: "[core.py:390] ".
        # Since 0.11 a path is possible: "[v1/engine/core.py:842] "
        rf"(?P<level>{_LEVELS}) \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[?[\w./<>-]*:\d+\] ?",
        r"(?P<stream>\([^()]*\b(?:pid|rank|ip)=[^()]*\)):? ?",
        r"(?P<stream>\[rank ?\d+\]):? ?",
        # uvicorn: "INFO:     Started server process"; pip: "ERROR: ..."
        rf"(?P<level>{_LEVELS}):(?:\s+|$)",
        # kubectl, docker compose, CRI, systemd and the kernel, Google Cloud, build farms
        r"\[pod/[^\]]*\] ?",
        r"[\w.-]{1,60} +\| ?",
        r"#\d+ \d+\.\d+ ",  # docker build
        r"\d+\.\d{1,4}  +",
        r"(?: {0,12}|--\s*)\| ",
        rf"\[?{_CLOCK}\]?(?: (?:stdout|stderr) [FP])?(?: -)?[: ]?",
        r"\[resource\.labels\.[^\]]*\] ?",
        r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]+ [\w./@-]+(?:\[\d+\])?: ",
        r"[A-Z][a-z]{2} [ \d]\d +\d\d:\d\d:\d\d\.\d{3} ?",  # Modal
        r"\[ *\d+\.\d{6}\] ?",
        # glog, as torch writes it: "[E1120 09:51:02.123 ProcessGroupNCCL.cpp:1] "; the month
        # has one digit up to September
        r"\[?(?P<level>[IWEF])\d{3,4} \d\d:\d\d:\d\d\.\d+(?: +\d+)? [\w./-]+:\d+\] ?",
        rf"- (?P<level>{_LEVELS}) - ",
        rf"(?:[\w.]+ - )?\[(?P<level>{_LEVELS})\] (?:- |\| )?",
        rf"(?:[\w.]+ - )?(?P<level>{_LEVELS}) (?:- |\| )",
        rf"(?P<level>{_LOUD}) (?=[\[\w'])",
        r"\[\d+\] ?(?=\()",
        # NCCL: "host:7:91 [0] transport.cc:160 NCCL WARN "
        r"[\w.-]+:\d+:\d+ \[\d+\](?: [\w/.]+:\d+)? (?=NCCL (?P<level>WARN|INFO|TRACE))",
        rf"\[(?P<level>{_LEVELS}) *\] [\w.-]+ MODEL_LOG - ",  # TorchServe
        r"> ",
        # LocalAI: "3:27PM DBG GRPC(name-127.0.0.1:42583): stderr "
        r"\d{1,2}:\d\d[AP]M [A-Z]{3} GRPC\([^)]*\): std(?:err|out) ",
        r"(?:docker: )?(?P<level>Error) response from daemon: ",
        r"(?:\[[\w.-]+\] ){1,3}>>> ",
        r"[\w./-]+\.py:\d+: (?=\w*(?:Error|Exception)\b)",  # pytest
        # hosted runners: "pod7[error]Uncaught exception | <class 'ValueError'>; ..."
        rf"\w{{6,40}} ?\[(?P<level>{_LEVELS})\] ?",
        rf"[\w.]+\.py +:\d+ +(?={_CLOCK})",
        r"(?P<level>Uncaught) exception \| <class '[\w.]+'>; ",
    )
)
#: vLLM's own prefix, and the name of its process, wherever a collector's prefix ends.
_OWN_PREFIX = re.compile(
    rf"^.{{0,160}}?\b(?P<level>{_LOUD}) \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[?[\w./<>-]+:\d+\] ?"
)
_OWN_PROCESS = re.compile(
    r"^.{1,120}?(?P<stream>\((?:APIServer|EngineCore|Vllm|Worker|RayWorker)[^()]*\bpid=\d+[^()]*\))"
    r" ?"
)
_LEVEL_NAMES = {
    "E": "ERROR", "F": "ERROR", "FATAL": "ERROR", "CRITICAL": "ERROR",
    "W": "WARNING", "WARN": "WARNING", "I": "INFO", "NOTICE": "INFO", "UNCAUGHT": "ERROR",
}  # fmt: skip


def strip_prefixes(text: str) -> tuple[str, str | None, str]:
    """The message without its prefixes, its level, and the process that wrote it.

    >>> strip_prefixes("vllm-1  | (EngineCore pid=7) ERROR 11-20 09:51:02 [core.py:1] No")
    ('No', 'ERROR', '(EngineCore pid=7)')
    """
    level, stream = None, ""
    for _ in range(8):
        for prefix in _PREFIXES:
            found = prefix.match(text)
            if found and found.end():
                groups = found.groupdict()
                if groups.get("level"):
                    level = groups["level"].upper()
                stream = groups.get("stream") or stream
                text = text[found.end() :]
                break
        else:
            break
    if "pid=" in text[:160] and (found := _OWN_PROCESS.match(text)):
        level, stream, text = None, found["stream"], text[found.end() :]
    if ":" in text[:160] and (found := _OWN_PREFIX.match(text)):
        level, text = found["level"], text[found.end() :]
    return text, _LEVEL_NAMES.get(level or "", level), stream
