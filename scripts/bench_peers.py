"""How fast is this kit beside what people would use instead? One machine, one set of files, texts.

    python scripts/bench_peers.py [--shapes 0.6B practice] [--lengths 128 512] [--only PEER ...]

transformers    the official sample of the model cards (its batch: all documents of a query)
cross_encoder   sentence-transformers CrossEncoder (published default: 32)
infinity        infinity-emb (published default: 32); --infinity-python names its environment
vllm            vLLM with the flags of the public tutorials, the right overrides and template
ours            the cpu profile of this kit
All in bfloat16 on all cores; every peer at each batch size of a printed sweep, the best one counts.
vLLM is asked over HTTP, one query with many documents a request; the others are called in their
own process. Shape 0.6B: random weights in the shape of Qwen3-Reranker-0.6B (1.2 GB, written once),
with the practice model's tokenizer, in which the shared beginning of a prompt is as long as in the
real one (about 64 tokens and the query). `one` beside a length: one document per query.

Results are kept in --work; a peer that is there is not measured again (--again). So the whole can
be done in pieces: --only transformers, then --only ours ... and at the end without --only.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from peers_models import model_folders

from rerank_kit import machine, memory, models, prompt
from rerank_kit.errors import RerankKitError
from rerank_kit.server.lifecycle import launch_settings
from rerank_kit.server.profiles import settings_for
from rerank_kit.server.settings import ServerSettings
from rerank_kit.tuning.limit import flops_per_pair, measure_limit
from rerank_kit.tuning.load import run_load
from rerank_kit.tuning.load_report import Load
from rerank_kit.tuning.texts import LocalTokenizer
from rerank_kit.tuning.workload import Workload, shipped_workload

ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).resolve().parent / "peers_worker.py"
PEERS = ("transformers", "cross_encoder", "infinity", "vllm", "ours")
#: What somebody gets who sets no batch size: CrossEncoder.predict and infinity's --batch-size.
PUBLISHED_BATCH = {"cross_encoder": 32, "infinity": 32}
QUERY = "how do I get a new seat map after the storm"
SECONDS = 6.0
WORKER_SECONDS = 600


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=["0.6B", "practice"])
    parser.add_argument("--lengths", nargs="+", default=["128", "512", "one"])
    parser.add_argument("--only", nargs="+", choices=(*PEERS, "limit"), metavar="PEER")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--work", type=Path, default=ROOT / ".work" / "peers")
    parser.add_argument("--cross-encoder-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--infinity-python", default="", metavar="PATH")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each batch size")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    results = Results(options.work / "results.json", options.again)
    for shape in options.shapes:
        folder, converted = model_folders(shape, options.work)
        facts = models.facts_of(str(folder))
        wanted = options.only or (*PEERS, "limit")
        if "limit" in wanted and not results.has(shape, "all", "limit"):
            results.keep(
                shape, "all", peer="limit", rows=measure_limit("bfloat16").as_dict()
            )
        for peer in (peer for peer in PEERS if peer in wanted):
            lengths = [one for one in options.lengths if not results.has(shape, one, peer)]
            if not lengths:
                continue
            keep = functools.partial(results.keep, shape, peer=peer)
            try:
                if peer in ("vllm", "ours"):
                    measure_vllm(peer, folder, lengths, options, keep)
                else:
                    measure_worker(peer, folder, converted, lengths, options, keep)
            except RerankKitError as error:
                print(f"{peer}: {error}", file=sys.stderr)
        print(table(results.rows, shape, options.lengths, facts), flush=True)
    if options.json:
        whole = {"machine": machine_words(), "results": results.rows}
        options.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return 0


class Results:
    """What was measured, in a file: written after each peer."""

    def __init__(self, path: Path, again: bool) -> None:
        self.path, self.again = path, again
        self.rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.fresh: set[str] = set()

    def has(self, shape: str, length: str, peer: str) -> bool:
        key = f"{shape} {length} {peer}"
        return key in self.rows and (not self.again or key in self.fresh)

    def keep(self, shape: str, length: str, *, peer: str, rows: Any) -> None:
        key = f"{shape} {length} {peer}"
        self.rows[key] = rows
        self.fresh.add(key)
        self.path.write_text(json.dumps(self.rows, indent=1) + "\n", encoding="utf-8")
        print(f"{key}: {json.dumps(rows)}", flush=True)


def batches_of(shape: str, length: str) -> list[int]:
    """Documents of one call. A padded batch of long texts gains nothing beyond the cores."""
    if length == "one":
        return [1]
    if shape == "practice":
        return [1, 8, 32, 128]
    return [1, 8, 32] if length == "128" else [1, 4, 8]


def measure_worker(
    peer: str, folder: Path, converted: Path, lengths: list[str], options: argparse.Namespace,
    keep: Callable[..., None],
) -> None:  # fmt: skip
    python = {"infinity": options.infinity_python, "cross_encoder": options.cross_encoder_python}
    program = python.get(peer, sys.executable)
    if not program:
        raise RerankKitError(
            f"{peer} was not measured: its environment is not named.",
            hint="uv venv E; uv pip install --python E 'infinity-emb[torch,server]'; "
            "then --infinity-python E/bin/python",
        )
    model = folder if peer == "transformers" else converted
    for length in lengths:
        texts = options.work / f"texts-{length}.json"
        texts.write_text(json.dumps(worker_texts(length, converted)), encoding="utf-8")
        shape = "practice" if folder == models.practice_model_dir() else "0.6B"
        sizes = [str(size) for size in batches_of(shape, length)]
        # infinity's engine has one batch size for its life
        together = sizes if peer == "infinity" else [",".join(sizes)]
        rows = [
            row for some in together
            for row in _rows_of([program, str(WORKER), peer, str(model), str(texts), some,
                                 str(options.seconds)])
        ]  # fmt: skip
        keep(length, rows=rows)


def _rows_of(command: list[str]) -> list[dict[str, Any]]:
    """What a worker prints. Raises RerankKitError when it fails."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    if command[0] != sys.executable:
        environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=WORKER_SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        raise RerankKitError(f"{command[2]} did not end in {WORKER_SECONDS} s.") from None
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not rows:
        raise RerankKitError(f"{command[2]} failed.", evidence=done.stderr.strip()[-400:])
    return rows


def measure_vllm(
    peer: str, folder: Path, lengths: list[str], options: argparse.Namespace,
    keep: Callable[..., None],
) -> None:  # fmt: skip
    settings = as_in_tutorials(folder) if peer == "vllm" else ours(folder)
    with launch_settings(settings, port=machine.free_port(), score_check=False) as server:
        client, first = server.reranker(), 0
        shape = "practice" if folder == models.practice_model_dir() else "0.6B"
        for length in lengths:
            rows = []
            for size in batches_of(shape, length):
                workload = workload_of(length, folder, size)
                at_once = 1 if length == "one" else 2
                load = Load(concurrency=at_once, seconds=options.seconds, warm_up_requests=1)
                report = run_load(client, workload, load, first_request=first)
                first = report.next_request
                rows.append({"batch": size, **report.as_dict()})
            keep(length, rows=rows)


def as_in_tutorials(folder: Path) -> ServerSettings:
    """vLLM's own defaults, with what the tutorials add (runner, overrides, template) and an
    explicit memory: 0.92 of a shared machine is refused."""
    settings = ours(folder)
    return replace(settings, max_num_batched_tokens=2048, flags=(), environment={})


def ours(folder: Path) -> ServerSettings:
    return replace(settings_for("cpu", str(folder)), served_name="peer")


def workload_of(length: str, folder: Path, size: int) -> Workload:
    """One query with many documents of this pair length (and, request after request, others)."""
    tokens = 128 if length == "one" else int(length)
    base = replace(shipped_workload("technical"), queries=(QUERY,), documents_per_request=size)
    return base.with_pair_tokens(((tokens, 1),), LocalTokenizer(folder))


def worker_texts(length: str, folder: Path) -> dict[str, Any]:
    """The same texts for a peer that is given finished prompts."""
    request = workload_of(length, folder, 128).request(0)
    before, after = prompt.render("\x01", "\x02", None).split("\x01")
    beginning = before.removeprefix(prompt.PREFIX) + request.query + after.split("\x02")[0]
    return {
        "prefix": prompt.PREFIX, "suffix": prompt.SUFFIX,
        "pairs": [[beginning, text] for text in request.documents],
    }  # fmt: skip


def best_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return max(rows, key=lambda row: float(row["pairs_per_second"]))


def table(
    results: dict[str, Any], shape: str, lengths: list[str], facts: models.ModelFacts
) -> str:
    limit = results.get(f"{shape} all limit")
    lines = [f"\n{shape}, bfloat16, {machine_words()}"]
    if limit:
        lines.append(f"measured matrix product: {limit['gflops_per_second']:.0f} GFLOP/s")
    head = ["pairs", "peer", "pairs/s", "best batch", "published default", "ours is",
            "computed tokens", "of the limit"]  # fmt: skip
    rows = [head]
    for length in lengths:
        ours_rows = results.get(f"{shape} {length} ours")
        fastest = best_of(ours_rows)["pairs_per_second"] if ours_rows else None
        for peer in PEERS:
            found = results.get(f"{shape} {length} {peer}")
            if not found:
                continue
            best = best_of(found)
            speed = best["pairs_per_second"]
            default = [row for row in found if row["batch"] == PUBLISHED_BATCH.get(peer)]
            tokens = best.get("tokens_per_pair") or (128 if length == "one" else int(length))
            cached = tokens * (best.get("cached_share") or 0.0)
            percent = "-"
            if limit:
                work = flops_per_pair(facts, tokens, cached) * speed
                percent = f"{work / limit['gflops_per_second'] / 1e7:.0f} %"
            rows.append([
                "one document, 128" if length == "one" else f"{length} tokens", peer,
                f"{speed:.2f}", str(best["batch"]),
                f"{default[0]['pairs_per_second']:.2f}" if default else "-",
                f"{fastest / speed:.2f}x" if fastest else "-",
                f"{tokens - cached:.0f}", percent,
            ])  # fmt: skip
    return "\n".join([*lines, *memory.aligned(rows, numbers=range(2, 8))])


def machine_words() -> str:
    found = machine.installed_vllm() or ("vllm", "?")
    kind = "with" if {"amx_bf16", "avx512_bf16"} & machine.cpu_flags() else "without"
    return (
        f"{len(os.sched_getaffinity(0))} {platform.machine()} cores {kind} bfloat16 arithmetic, "
        f"{machine.host_memory().total_gib:.0f} GiB, {found[0]} {found[1]}"
    )


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())
