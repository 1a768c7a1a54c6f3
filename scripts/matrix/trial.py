"""Run one version through the kit itself: what it needs is found out, then proved."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from rerank_kit import registry, versions

from .observe import INSTRUCTION, LIMIT_TOKENS, LONG, PAIRS, TOLERANCE, Recipe, observe

ROOT = Path(__file__).resolve().parents[2]
#: Flags that rerank_kit passes on, may pass on, or must not (gone in newer versions).
FLAGS = (
    "--runner", "--task", "--chat-template", "--hf-overrides", "--dtype", "--max-model-len",
    "--max-num-batched-tokens", "--max-num-seqs", "--kv-cache-memory-bytes",
    "--gpu-memory-utilization", "--block-size", "--enforce-eager", "--quantization",
    "--distributed-executor-backend", "--renderer-num-workers", "--api-server-count",
    "--async-scheduling", "--enable-prefix-caching", "--served-model-name",
    "--max-num-queued-reqs", "--compilation-config", "--pooler-config",
    "--override-pooler-config", "--disable-log-requests", "--swap-space", "--device",
)  # fmt: skip
#: A version that is not ready by then is written down as not starting.
START_SECONDS = 900

_LAUNCH = """
import sys
import rerank_kit
from rerank_kit import errors, launch
try:
    server = launch("practice", owner_is_terminal=True, score_check=sys.argv[1] == "checked",
                    timeout_seconds=float(sys.argv[2]), on_progress=lambda progress: None)
    print("READY " + " ".join((server.url, server.record.log_path, rerank_kit.__path__[0])))
except errors.RerankKitError as error:
    print("FAILED " + " ".join(str(error).split())[:600])
"""
_CLIENT = """
import json, sys
from rerank_kit import Reranker
asked = json.load(sys.stdin)
client = Reranker(asked["url"])
told = client.score(asked["pairs"], asked["instruction"])
limited = client.score([asked["long"]], max_tokens_per_doc=asked["limit"])
print("SCORES " + json.dumps([client.score(asked["pairs"]), told, limited]))
"""


class Trial:
    """One version in its environment, with a copy of the kit whose versions.json is its own."""

    def __init__(self, version: str, python: Path, folder: Path) -> None:
        self.version, self.python, self.folder = version, python, folder.resolve()
        self.kit = self.folder / "kit"
        shutil.rmtree(self.kit, ignore_errors=True)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "rerank_kit", self.kit / "rerank_kit", ignore=ignored)
        self.environment = {
            **os.environ, "PYTHONPATH": str(self.kit), "HF_HUB_OFFLINE": "1",
            "RERANK_KIT_STATE_DIR": str(folder / "state"),
        }  # fmt: skip
        for name in ("RERANK_URL", "RERANK_API_KEY"):
            self.environment.pop(name, None)

    def run(self, recipe: Recipe) -> dict[str, Any]:
        """The row of this version."""
        row: dict[str, Any] = {"version": self.version, "prompt": versions.REFUSED}
        try:
            row["lacks"] = self._lacks()
            # The template that finds a marked instruction can do all the other one can, so one
            # start shows what the version honours.
            row |= {"prompt": versions.BY_MARKED_QUERY, "cpu_reads_kv_flag": True}
            row |= self._start_and_observe(row, recipe)
            row["prompt"], why = _prompt_of(row)
            if row["prompt"] == versions.REFUSED:
                return row | {"why": why}
            return row | self._prove(row, recipe)
        except (RuntimeError, subprocess.TimeoutExpired, ValueError) as error:
            return row | {"prompt": versions.REFUSED, "why": str(error)}
        finally:
            self._stop()

    def _start_and_observe(self, row: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
        began = time.monotonic()
        reads_kv_flag = "--kv-cache-memory-bytes" not in row["lacks"]
        try:
            url, log = self._launch(row | {"cpu_reads_kv_flag": reads_kv_flag}, checked=False)
        except RuntimeError:  # it took too much memory: the flag was not read
            if not reads_kv_flag:
                raise
            url, log = self._launch(row | {"cpu_reads_kv_flag": False}, checked=False)
            reads_kv_flag = False
        seconds, load = round(time.monotonic() - began), round(os.getloadavg()[0], 1)
        found = observe(url, recipe)
        self._stop()
        reads_kv_flag = reads_kv_flag and _kv_cache_is_as_asked(Path(log))
        return {
            "starts": True, "ready_seconds": seconds, "load_average": load,
            "cpu_reads_kv_flag": reads_kv_flag, **found,
        }  # fmt: skip

    def _prove(self, row: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
        """Launch as a user would, known answer checked, and score through the client."""
        url, _ = self._launch(row, checked=True)
        command = [str(self.python), "-c", _CLIENT]
        return _client_error(json.loads(self._say("SCORES", command, _asked(url))), recipe)

    def _lacks(self) -> list[str]:
        script = Path(__file__).with_name("flags.py")
        return json.loads(self._say("FLAGS", [str(self.python), str(script), *FLAGS]))

    def _launch(self, row: dict[str, Any], checked: bool) -> tuple[str, str]:
        """(url, log). Raises RuntimeError with what the kit says when it does not start."""
        (self.kit / "rerank_kit" / "versions.json").write_text(json.dumps([row]), encoding="utf-8")
        words = ["checked" if checked else "unchecked", str(START_SECONDS)]
        said = self._say("READY", [str(self.python), "-c", _LAUNCH, *words])
        url, log, kit = said.split()
        if Path(kit) != self.kit / "rerank_kit":
            raise RuntimeError(f"another copy of rerank_kit answered: {kit}")
        return url, log

    def _stop(self) -> None:
        command = [str(self.python), "-m", "rerank_kit", "stop"]
        subprocess.run(
            command, env=self.environment, cwd=self.kit, capture_output=True, timeout=180
        )

    def _say(self, keyword: str, command: list[str], asked: object = None) -> str:
        """The line of a program's output that begins with keyword; its failure as RuntimeError."""
        # In the copy's folder: Python looks for rerank_kit where it is started, then elsewhere.
        done = subprocess.run(
            command, env=self.environment, cwd=self.kit, text=True, capture_output=True,
            input=json.dumps(asked) if asked is not None else None,
            timeout=START_SECONDS + 120,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            if line.startswith(keyword + " "):
                return line.removeprefix(keyword + " ")
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
        tail = (failed or done.stderr.strip().splitlines() or ["no output"])[-1]
        raise RuntimeError(tail.removeprefix("FAILED "))


def _asked(url: str) -> dict[str, Any]:
    """What the client is asked to score, for _CLIENT."""
    return {
        "url": url, "pairs": PAIRS, "instruction": INSTRUCTION, "long": (PAIRS[0][0], LONG),
        "limit": LIMIT_TOKENS,
    }  # fmt: skip


def _client_error(seen: list[list[float]], recipe: Recipe) -> dict[str, Any]:
    """How far the client's scores are from the recipe's. RuntimeError beyond the tolerance."""
    offsets = recipe.tokenizer(LONG, return_offsets_mapping=True, add_special_tokens=False)
    cut = LONG[: offsets["offset_mapping"][LIMIT_TOKENS - 1][1]]
    official = [
        [recipe.score(*pair) for pair in PAIRS],
        [recipe.score(*pair, INSTRUCTION) for pair in PAIRS],
        [recipe.score(PAIRS[0][0], cut)],
    ]
    worst = [
        max(abs(a - b) for a, b in zip(one, other, strict=True))
        for one, other in zip(seen, official, strict=True)
    ]
    if max(worst) > TOLERANCE:
        raise RuntimeError(f"through the client the scores are off by {worst}")
    names = ("known_answer", "instruction", "document_limit")
    return {"client_error": dict(zip(names, (float(f"{w:.1e}") for w in worst), strict=True))}


def row_of_running_server(url: str, recipe: Recipe) -> dict[str, Any]:
    """The row of the version that runs at url, started by the kit in this environment."""
    version = requests.get(f"{url}/version", timeout=60).json()["version"]
    log = next(Path(one.log_path) for one in registry.living() if one.url == url)
    script = Path(__file__).with_name("flags.py")
    done = subprocess.run([sys.executable, str(script), *FLAGS], text=True, capture_output=True)
    lacks = done.stdout.split("FLAGS ", 1)[1].splitlines()[0]
    row = {"version": version, "lacks": json.loads(lacks), "starts": True, **observe(url, recipe)}
    row["cpu_reads_kv_flag"] = _kv_cache_is_as_asked(log)
    row["prompt"], why = _prompt_of(row)
    if row["prompt"] == versions.REFUSED:
        return row | {"why": why}
    command = [sys.executable, "-c", _CLIENT]
    asked = subprocess.run(command, input=json.dumps(_asked(url)), text=True, capture_output=True)
    seen = json.loads(asked.stdout.split("SCORES ", 1)[1])
    return row | _client_error(seen, recipe)


def _kv_cache_is_as_asked(log: Path) -> bool:
    text = log.read_text(encoding="utf-8", errors="replace")
    sizes = re.findall(r"KV cache size: ([\d,]+) tokens", text)
    bytes_per_token = 2 * 4 * 2 * 64 * 4  # practice model: 4 layers, 2 KV heads of 64, float32
    asked = 256 * 2**20 / bytes_per_token  # settings.py, the practice profile
    return bool(sizes) and abs(int(sizes[-1].replace(",", "")) - asked) < 0.05 * asked


def _prompt_of(row: dict[str, Any]) -> tuple[str, str]:
    """(how this version is brought to read the official prompt, why it cannot be)."""
    if row["score_fields"] is None:
        return versions.REFUSED, "/v1/score takes neither queries and documents nor text_1, text_2"
    if row["score_template"] and row["instruction_field"]:
        return versions.BY_TEMPLATE, ""
    if row["score_template"] and row["marked_query"]:
        return versions.BY_MARKED_QUERY, ""
    if row["client_prompt"]:
        return versions.BY_CLIENT, ""
    return versions.REFUSED, "neither a template nor a finished prompt gives the official scores"
