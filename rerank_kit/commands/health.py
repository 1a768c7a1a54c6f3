"""doctor and diagnose: what is wrong with a server, or with its log?"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from rerank_kit.commands.result import AddCommand, Result


def add(command: AddCommand) -> None:
    made = command("doctor", doctor, "does a server give the official scores?")
    made.add_argument("--url", help="its address (default: RERANK_URL, else ours)")
    made.add_argument(
        "--model-dir", metavar="DIR",
        help="the served model's folder: compare with transformers in float32",
    )
    read = command("diagnose", diagnose, "what does this log say went wrong?")
    read.add_argument("file", metavar="FILE", help="a vLLM log; - is stdin")


def doctor(options: Namespace) -> Result:
    from rerank_kit.client.reranker import default_url
    from rerank_kit.doctor import examine

    found = examine(options.url or default_url(), model_dir=options.model_dir)
    return Result(found.ok, f"{found.url}\n{found}", found.as_dict())


def diagnose(options: Namespace) -> Result:
    from rerank_kit.server.diagnosis import diagnose as read

    found = read(sys.stdin) if options.file == "-" else read(Path(options.file))
    return Result(found.family == "none", str(found), found.as_dict())
