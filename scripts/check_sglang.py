#!/usr/bin/env python3
"""Have SGLang's own argument parser read the kit's command for it.

    python scripts/check_sglang.py        # in an environment that has sglang (0.5.23 was used)

Starts nothing. Exit status 1 when it does not understand every word as it is meant.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    import sglang
    from sglang.srt.server_args import ServerArgs

    from rerank_kit.scale.sglang import TEMPLATE, sglang_arguments

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    found = parser.parse_args(
        sglang_arguments("4B", port=8123, tensor_parallel_size=2, data_parallel_size=4)
    )
    wanted = {
        "model_path": "Qwen/Qwen3-Reranker-4B", "served_model_name": "4B", "host": "127.0.0.1",
        "port": 8123, "chat_template": str(TEMPLATE), "disable_radix_cache": True,
        "dtype": "bfloat16", "context_length": 8192, "chunked_prefill_size": 8192,
        "mem_fraction_static": 0.8, "tp_size": 2, "dp_size": 4, "is_embedding": False,
    }  # fmt: skip
    wrong = {name: getattr(found, name) for name in wanted if getattr(found, name) != wanted[name]}
    print(f"SGLang {sglang.__version__}: {len(wanted) - len(wrong)} of {len(wanted)} as meant")
    for name, value in wrong.items():
        print(f"  {name}: {value!r} instead of {wanted[name]!r}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
