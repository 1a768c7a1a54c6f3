"""Prints, as JSON, which of the given flags the vLLM of THIS environment does not have.

Run by version_matrix.py with each version's own Python; imports nothing of ours.
"""

import importlib
import json
import sys


def _attribute(*places):
    for place in places:
        module, name = place.rsplit(".", 1)
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise SystemExit(f"none of {places} exists")


def main():
    parser_class = _attribute(
        "vllm.utils.argparse_utils.FlexibleArgumentParser", "vllm.utils.FlexibleArgumentParser"
    )
    make = _attribute(
        "vllm.entrypoints.openai.cli_args.make_arg_parser",
        "vllm.entrypoints.serve.cli_args.make_arg_parser",
        "vllm.entrypoints.launchers.cli_args.make_arg_parser",
        "vllm.entrypoints.launchers.api_server.cli_args.make_arg_parser",
    )
    known = make(parser_class())._option_string_actions
    print("FLAGS " + json.dumps([flag for flag in sys.argv[1:] if flag not in known]))


if __name__ == "__main__":
    main()
