"""SGLang as the engine: the command that starts it so that it gives the official scores.

Read in the source of SGLang 0.5.23 (serving_rerank.py, template_manager.py), and its flags checked
by its own argument parser (scripts/check_sglang.py). Not run: it needs a GPU.

- It scores p("yes") against p("no") after the prompt, like the official recipe, when the chat
  template contains the official sentence and the server is NOT started with --is-embedding.
- Its own example template ends before `<think>`: other scores. The kit brings the right one.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from rerank_kit import models

TEMPLATE = Path(__file__).resolve().parent.parent / "templates" / "qwen3_reranker_sglang.jinja"
#: vLLM's flag -> SGLang's, for those who know the one and use the other.
SAME_MEANING = {
    "--max-model-len": "--context-length",
    "--max-num-batched-tokens": "--chunked-prefill-size",
    "--gpu-memory-utilization": "--mem-fraction-static",
    "--tensor-parallel-size": "--tp-size",
    "--data-parallel-size": "--dp-size",
    "--served-model-name": "--served-model-name",
    "--dtype": "--dtype",
}


def sglang_arguments(
    model: str = "0.6B",
    *,
    port: int = 8000,
    max_model_len: int = 8192,
    max_num_batched_tokens: int = 8192,
    dtype: str = "bfloat16",
    gpu_memory_utilization: float = 0.8,
    tensor_parallel_size: int = 1,
    data_parallel_size: int = 1,
) -> list[str]:
    """Everything after `python -m sglang.launch_server`, from the words used for vLLM."""
    arguments = [
        "--model-path", models.facts_of(model).name,
        "--served-model-name", model,
        "--host", "127.0.0.1",
        "--port", str(port),
        "--chat-template", str(TEMPLATE),
        # A query meets its documents once: nothing to find again, and the memory is worth more.
        "--disable-radix-cache",
        "--dtype", dtype,
        "--context-length", str(max_model_len),
        "--chunked-prefill-size", str(max_num_batched_tokens),
        "--mem-fraction-static", str(gpu_memory_utilization),
    ]  # fmt: skip
    if tensor_parallel_size > 1:
        arguments += ["--tp-size", str(tensor_parallel_size)]
    if data_parallel_size > 1:
        arguments += ["--dp-size", str(data_parallel_size)]
    return arguments


def sglang_command(model: str = "0.6B", **options: int | float | str) -> str:
    """The whole command, to read and to paste. options: as for sglang_arguments()."""
    words = sglang_arguments(model, **options)  # type: ignore[arg-type]
    return "python -m sglang.launch_server " + shlex.join(words)
