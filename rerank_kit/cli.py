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
    except RerankKitError as error:
        return _print_error(error, options.json)
    except KeyboardInterrupt:
        print("interrupted: what this command had started was stopped again", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_GOOD
    _print_result(result, options.json)
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

    command("check", commands.check, "look at this machine: [ok] and [fix] lines")
    _plan_options(command("plan", commands.plan, "will it fit? the memory of a start, predicted"))
    _launch_options(command("launch", commands.launch, "start a server, or attach to ours"))
    command("status", commands.status, "which of our servers run, and do they answer?")
    logs = command("logs", commands.logs, "the end of a server's log")
    logs.add_argument("--lines", type=_positive, default=40, metavar="N", help="default 40")
    stop = command("stop", commands.stop, "stop our servers and prove that they are gone")
    for made in (logs, stop):
        made.add_argument("--port", type=_port, help="only the server on this port")
    _rank_options(command("rank", commands.rank, "rank the documents of a file for a query"))
    doctor = command("doctor", commands.doctor, "does a server give the official scores?")
    doctor.add_argument("--url", help="its address (default: RERANK_URL, else ours)")
    diagnose = command("diagnose", commands.diagnose, "what does this log say went wrong?")
    diagnose.add_argument("file", metavar="FILE", help="a vLLM log; - is stdin")
    _profile_options(command("demo", commands.demo, "launch, rank sample texts, stop"))
    return parser


def _profile_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile",
        default=os.environ.get("RERANK_PROFILE") or "auto",
        help="auto, practice, cpu, gpu or remote (default: RERANK_PROFILE, else auto)",
    )


def _plan_options(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--gpu", metavar="NAME", help='a card, e.g. T4, A10, "RTX 4090", A100-80')
    where.add_argument(
        "--memory-gib", type=float, metavar="X", help="a card with X GiB (default: this machine)"
    )
    parser.add_argument(
        "--model", help="0.6B, 4B, 8B, a folder or a hub id (default: what fits best)"
    )
    parser.add_argument(
        "--max-model-len", type=_positive, metavar="N", help="longest query + document, in tokens"
    )
    parser.add_argument("--quantization", metavar="Q", help="fp8, int8, awq, gptq, or none")


def _launch_options(parser: argparse.ArgumentParser) -> None:
    _profile_options(parser)
    parser.epilog = "vLLM's own flags go after --, e.g. rerank-kit launch -- --max-model-len 2048"
    parser.add_argument("--model", help="0.6B, 4B, 8B, a folder or a hub id")
    parser.add_argument("--port", type=_port, help="default: 8000, or a free one")
    parser.add_argument("--timeout-seconds", type=_positive, metavar="S", help="give up after S")
    parser.add_argument("--print", action="store_true", help="only print the vllm serve command")
    parser.add_argument(
        "--recover", action="store_true", help="on a failure that a setting cures, apply it"
    )
    parser.add_argument(
        "--no-score-check", action="store_true", help="accept a server that scores wrongly"
    )


def _rank_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--query", required=True)
    parser.add_argument(
        "--documents", required=True, metavar="FILE",
        help='one document a line, or JSON lines with "text" and "id"; - is stdin',
    )
    parser.add_argument("--paragraphs", action="store_true", help="blank lines part documents")
    parser.add_argument("--instruction", help="what relevant means here, best in English")
    parser.add_argument("--top-n", type=_positive, metavar="N", help="show the best N")
    parser.add_argument("--url", help="the server (default: RERANK_URL, else ours)")


def _split_at_dashes(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return number


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
            print(f"  log: {error.log_path}", file=sys.stderr)
    return EXIT_USAGE if isinstance(error, InputError) else EXIT_NO
