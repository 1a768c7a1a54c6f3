"""`rerank-kit`: the commands, their options, and how their results and errors are printed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from rerank_kit import __version__, commands
from rerank_kit.errors import InputError, LaunchError, RerankKitError
from rerank_kit.language import localised

EXIT_GOOD, EXIT_NO, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0 good, 1 the answer is no, 2 wrong usage, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    words, vllm_flags = _split_at_dashes(words)
    options = _parser().parse_args(words)
    options.vllm_flags = vllm_flags
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        if hasattr(signal, name):  # a launch that is killed must clean up like Ctrl-C does
            signal.signal(getattr(signal, name), _interrupt)
    try:
        result = options.run(options)
        _print_result(result, options.json)
        sys.stdout.flush()  # here, and not at exit, where a reader that is gone is a traceback
    except RerankKitError as error:
        return _print_error(error, options.json)
    except KeyboardInterrupt:
        said = localised("interrupted: what this command had started was stopped again")
        print(said, file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_GOOD
    return EXIT_GOOD if result.good else EXIT_NO


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rerank-kit",
        description="Launch a vLLM Qwen3-Reranker server, get right scores from it, stop it.",
    )
    parser.add_argument("--version", action="version", version=f"rerank-kit {__version__}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else on stdout"
    )
    add = parser.add_subparsers(metavar="COMMAND", required=True).add_parser

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = add(name, parents=[shared], help=text, description=text)
        made.set_defaults(run=run)
        return made

    for group in commands.GROUPS:
        group.add(command)
    return parser


def _split_at_dashes(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _print_result(result: commands.Result, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.data, ensure_ascii=False))
    elif result.text:
        print(result.text)


def _print_error(error: RerankKitError, as_json: bool) -> int:
    if as_json:
        print(json.dumps(error.as_dict(), ensure_ascii=False))
    else:
        print(f"rerank-kit: {error}", file=sys.stderr)
        if isinstance(error, LaunchError) and error.log_path:
            print(localised(f"  log: {error.log_path}"), file=sys.stderr)
    return EXIT_USAGE if isinstance(error, InputError) else EXIT_NO
