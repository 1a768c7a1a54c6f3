"""What a server is started with: its flags, its environment, the command that is printed."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rerank_kit import models, other_rerankers, versions
from rerank_kit.prompt import chat_template_path

PACKAGE_DIR = Path(__file__).parent.parent

#: Flags the kit sets itself; a second value after `--` would contradict the state file,
#: or (the key) would be readable by every user of the machine in the process list.
RESERVED_FLAGS = {
    "--port": "use the port option instead",
    "--host": "the kit binds 127.0.0.1; see notebook 10 for reaching it from elsewhere",
    "--model": "use the model option instead",
    "--api-key": "set RERANK_API_KEY: a key on a command line can be read by every user",
    "--served-model-name": "the kit names the served model itself",
}


@dataclass(frozen=True)
class ServerSettings:
    """One server. Sizes are in the units vLLM takes: tokens and bytes."""

    profile: str
    model: str
    served_name: str
    dtype: str
    max_model_len: int
    max_num_batched_tokens: int
    kv_cache_memory_bytes: int
    flags: tuple[str, ...] = ()
    extra_args: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    vllm_version: str | None = None  # None: the newest that versions.json knows

    def vllm_arguments(self, port: int) -> list[str]:
        """Everything after `vllm serve MODEL`. The user's own flags come last, and take the place
        of the kit's."""
        facts = versions.facts_of(self.vllm_version)
        arguments = [
            "--served-model-name", self.served_name,
            "--host", self.host,
            "--port", str(port),
            *(("--runner", "pooling") if facts.has("--runner") else ("--task", "score")),
            *template_arguments(self.model, facts),
            "--dtype", self.dtype,
            "--max-model-len", str(self.max_model_len),
            "--max-num-batched-tokens", str(self.max_num_batched_tokens),
        ]  # fmt: skip
        if "VLLM_CPU_KVCACHE_SPACE" not in self.environment:
            arguments += ["--kv-cache-memory-bytes", str(self.kv_cache_memory_bytes)]
        arguments += head_arguments(self.model)
        return [*_kit_flags([*arguments, *self.flags], facts, self.extra_args), *self.extra_args]

    def argv(self, port: int) -> list[str]:
        """The command that is run: vLLM's own server through a small main module, which makes
        it start sooner (run_vllm.py). The `vllm` script does not exist in the CPU build."""
        # -P: neither the folder we are in nor the kit's own may shadow a module of vLLM's.
        program = [sys.executable, "-P", str(PACKAGE_DIR / "run_vllm.py")]
        return [*program, "--model", self.model, *self.vllm_arguments(port)]

    def command_line(self, port: int | str = 8000) -> str:
        """The equal `vllm serve` command, to read and to paste. It holds no path of this
        machine: $KIT stands for the folder of the rerank_kit package."""
        words = ["vllm", "serve", self.model, *self.vllm_arguments(0)]
        words[words.index("--port") + 1] = str(port)
        marked = [word.replace(str(PACKAGE_DIR), "@KIT@") for word in words]
        shown = [shlex.quote(word).replace("@KIT@", '"$KIT"') for word in marked]
        lines = [" ".join(shown[:3])]
        for word in shown[3:]:
            if word.startswith("--") or word.startswith("-cc"):
                lines.append(f"  {word}")
            else:
                lines[-1] += f" {word}"
        find_kit = "KIT=$(python -c 'import rerank_kit; print(rerank_kit.__path__[0])')"
        variables = "".join(f"{key}={value} " for key, value in self.environment.items())
        return f"{find_kit}\n{variables}" + " \\\n".join(lines)

    def process_environment(self) -> dict[str, str]:
        """The child's environment: the user's own, plus what the profile needs. The client's
        key becomes the server's key; it travels only here."""
        environment = dict(os.environ)
        # Images that set this make every start compile all of vLLM's Python anew (3x slower).
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        key = environment.pop("RERANK_API_KEY", "")
        if key:
            environment["VLLM_API_KEY"] = key
        environment.update(VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1", VLLM_LOGGING_COLOR="0")
        return environment | self.environment

    @property
    def fingerprint(self) -> str:
        """Equal for two launches that would start the same server."""
        identity = [self.profile, self.model, self.vllm_arguments(0), self.environment]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def template_arguments(model: str, facts: versions.VersionFacts) -> list[str]:
    """The flag that makes vLLM read a model's own prompt; none where the tokenizer joins a pair,
    or where the client has to send the finished prompt."""
    other = other_rerankers.find(model)
    if other is not None:
        path = other.template_path
    elif facts.prompt == versions.BY_CLIENT:
        path = None
    else:
        path = chat_template_path(marked=facts.prompt == versions.BY_MARKED_QUERY)
    return ["--chat-template", str(path)] if path else []


def head_arguments(model: str) -> list[str]:
    """The flags that make vLLM read a model's score where that model gives it."""
    other = other_rerankers.find(model)
    if other is None:
        overrides = models.RERANKER_OVERRIDES if needs_overrides(model) else {}
    else:
        overrides = other.overrides
    flags = list(other.flags) if other else []
    return flags + (["--hf-overrides", json.dumps(overrides)] if overrides else [])


def needs_overrides(model: str) -> bool:
    """False for a checkpoint already converted to sequence classification."""
    config = Path(model) / "config.json"
    if config.is_file():
        names = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
        return "Qwen3ForSequenceClassification" not in names
    return "seq-cls" not in model


def _kit_flags(
    words: list[str], facts: versions.VersionFacts, extra_args: tuple[str, ...]
) -> list[str]:
    """The kit's own flags without those, and their values, that this version does not have or
    that the user gives, too: vLLM would take the last one, a reader might take the first."""
    given = {word.split("=", 1)[0] for word in extra_args if word.startswith("--")}
    kept: list[str] = []
    dropping = False
    for word in words:
        if word.startswith("-"):
            dropping = word in given or word.startswith("--") and not facts.has(word)
        if not dropping:
            kept.append(word)
    return kept
