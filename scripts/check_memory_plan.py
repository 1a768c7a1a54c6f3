"""Check the memory plan against real starts: Qwen3 models of several shapes with random weights.

    python scripts/check_memory_plan.py [--shapes NAME ...] [--out FILE]

Each shape is planned, started with vLLM's CPU build (dummy weights: no file of that size is
written), made to score a full step of tokens, measured and stopped. Printed: predicted against
measured, with the error. Measured is the main memory of the server's whole process
group. Needs Linux, the CPU build, and up to 14 GiB of free memory; a shape that does not fit is
left out and said. About a minute a shape on two idle cores, several where it is compiled.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


from rerank_kit import Reranker, launch, machine, memory, models, registry
from rerank_kit.errors import RerankKitError
from rerank_kit.server import Server, process_group

RECORD = Path(__file__).resolve().parent.parent / "notebooks" / "recorded" / "memory_cpu.json"
#: Leave this much of the machine's memory to everything else.
SPARE_GIB = 2.5
_WORDS = "the memory of a server is known before it starts and measured after it has started "


@dataclass(frozen=True)
class Shape:
    """One Qwen3 configuration. profile practice: in float32, as in the course. compiled: with
    torch.compile, as the cpu profile starts a server; it takes minutes a shape."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    tied: bool = True
    profile: str = "cpu"
    compiled: bool = False


SHAPES = (
    Shape("0.6B's own", 28, 1024, 3072, 16, 151669),
    Shape("wide and shallow", 10, 3072, 8192, 24, 32000),
    Shape("deep and narrow", 48, 1024, 3072, 16, 32000),
    Shape("head of its own", 16, 2560, 9728, 32, 151669, tied=False),
    Shape("in float32", 20, 1536, 4096, 12, 65536, profile="practice"),
    Shape("4B's own", 36, 2560, 9728, 32, 151669),
    Shape("0.6B's own, compiled", 28, 1024, 3072, 16, 151669, compiled=True),
    Shape("wide, compiled", 10, 3072, 8192, 24, 32000, compiled=True),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [shape.name for shape in SHAPES]
    parser.add_argument("--shapes", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--out", type=Path, default=RECORD, help="where the JSON goes")
    parser.add_argument(
        "--repredict", action="store_true", help="start nothing: plan the recorded shapes again"
    )
    options = parser.parse_args()
    if options.repredict:
        return repredict(options.out)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    rows = []
    for shape in (shape for shape in SHAPES if shape.name in options.shapes):
        folder = Path(tempfile.mkdtemp(prefix="rerank-kit-shape-"))
        try:
            rows.append(check(shape, folder))
        except RerankKitError as error:
            rows.append({"shape": shape.name, "failed": error.message})
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps(rows[-1]), flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(recorded(rows), indent=1) + "\n", encoding="utf-8")
    print("\n" + text(rows))
    return 0 if all("predicted_gib" in row or "skipped" in row for row in rows) else 1


def check(shape: Shape, folder: Path) -> dict[str, Any]:
    """Plan, start, load, measure, stop one shape."""
    write_model(shape, folder)
    facts = models.facts_of(str(folder))
    practice = shape.profile == "practice"
    device = memory.device_here("cpu")
    wanted: dict[str, Any] = {
        "max_model_len": 4096 if practice else 8192,
        "max_num_batched_tokens": 4096,
        "dtype": "float32" if practice else device.dtype,
        "eager": not shape.compiled,
    }
    planned = memory.plan(facts, device, **wanted)
    if planned.room_gib < SPARE_GIB:
        return {"shape": shape.name, "skipped": f"{planned.peak_gib:.1f} GiB are not free now"}
    eager = () if practice or shape.compiled else ("--enforce-eager",)
    started = time.monotonic()
    peak = Peak()
    server = launch(
        shape.profile, str(folder), port=machine.free_port(), score_check=False,
        extra_args=("--load-format", "dummy", *eager), on_progress=lambda _: None,
    )  # fmt: skip
    try:
        seconds = time.monotonic() - started
        assert server.record is not None and server.settings is not None
        idle = group_gib(server.record.pid)
        loading = peak.take()
        score_one_step(server, server.settings.max_num_batched_tokens)
        busy = max(peak.take(), group_gib(server.record.pid))
        measured = memory.read_log(Path(server.record.log_path))
    finally:
        peak.end()
        server.stop(force=True)
    row = {
        "shape": shape.name,
        "facts": asdict(replace(facts, name=shape.name)),
        "options": wanted,
        "kv_cache_memory_bytes": server.settings.kv_cache_memory_bytes,
        "parameters": facts.parameters,
        "measured_gib": round(busy, 2),
        "measured_idle_gib": round(idle, 2),
        "measured_loading_peak_gib": round(loading, 2),
        "measured_kv_cache_gib": measured.kv_cache_gib,
        "seconds_to_ready": round(seconds, 1),
    }
    return row | predicted(row)


def predicted(row: dict[str, Any]) -> dict[str, Any]:
    """What the plan says of a measured row: the plan's own terms, with the KV cache that the
    server was started with."""
    roomy = memory.Device("the machine of the measurement", 1000, 1000, kind="cpu")
    made = memory.plan(models.ModelFacts(**row["facts"]), roomy, **row["options"])
    terms = {term.name: term.gib for term in made.terms}
    terms["kv_cache"] = row["kv_cache_memory_bytes"] / models.GIB
    total, seen = sum(terms.values()), row["measured_gib"]
    return {
        "predicted_terms_gib": {name: round(gib, 3) for name, gib in terms.items()},
        "predicted_gib": round(total, 2),
        "error_gib": round(total - seen, 2),
        "error_percent": round(100 * (total - seen) / seen, 1),
    }


def repredict(path: Path) -> int:
    """The recorded measurements against the plan as it is now."""
    data = json.loads(path.read_text(encoding="utf-8"))
    data["shapes"] = [
        row | predicted(row) if "measured_gib" in row else row for row in data["shapes"]
    ]
    print(text(data["shapes"]))
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


def write_model(shape: Shape, folder: Path) -> None:
    """A model folder without weights: the configuration and the practice model's tokenizer."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(models.practice_model_dir() / name, folder / name)
    practice = json.loads((models.practice_model_dir() / "config.json").read_text("utf-8"))
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": 8 if shape.heads % 8 == 0 else 4,
        "head_dim": 128,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "attention_bias": False,
        "eos_token_id": practice["eos_token_id"],
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def score_one_step(server: Server, tokens: int) -> None:
    """One query whose documents together fill a step of this many tokens and a bit more."""
    patient = Reranker(server.url, timeout_seconds=900)
    pairs = [  # about 500 tokens each; equal beginnings would be read only once
        ("what is measured?", f"{number} {_WORDS * 30}") for number in range(tokens // 450 + 1)
    ]
    patient.score(pairs)


def group_gib(pid: int) -> float:
    return memory.main_memory_gib(process_group.members(pid))


class Peak:
    """Samples the memory of the newest server of this machine once a second."""

    def __init__(self) -> None:
        self._highest = 0.0
        self._before = {record.pid for record in registry.living()}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(1.0):
            for record in registry.living():
                if record.pid not in self._before:
                    self._highest = max(self._highest, group_gib(record.pid))

    def take(self) -> float:
        """The highest value since the last call."""
        highest, self._highest = self._highest, 0.0
        return highest

    def end(self) -> None:
        self._end.set()
        self._thread.join(10)


def text(rows: list[dict[str, Any]]) -> str:
    table = [["shape", "predicted", "measured", "error", "%", "highest while loading"]]
    for row in rows:
        if "predicted_gib" not in row:
            said = row.get("skipped") or row.get("failed")
            table.append([str(row["shape"]), "-", "-", "-", "-", str(said)])
            continue
        table.append(
            [str(row["shape"]), *(f"{row[key]:.2f}" for key in ("predicted_gib", "measured_gib")),
             f"{row['error_gib']:+.2f}", f"{row['error_percent']:+.1f}",
             f"{row['measured_loading_peak_gib']:.2f}"]
        )  # fmt: skip
    return "\n".join(memory.aligned(table, numbers=range(1, 6)))


def recorded(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept: the numbers, when, and on what kind of machine (no names)."""
    found = machine.installed_vllm() or ("vllm", "unknown")
    fast = {"amx_bf16", "avx512_bf16"} & machine.cpu_flags()
    return {
        "what": "memory of a vLLM reranker server on a CPU, predicted against measured (GiB, main "
        "memory of the process group while it scores a full step of tokens; random weights)",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} {platform.machine()} cores"
        f"{' with bfloat16 arithmetic' if fast else ''}, "
        f"{machine.host_memory().total_gib:.0f} GiB of memory, Linux",
        "versions": {found[0]: found[1], "python": platform.python_version()},
        "shapes": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
