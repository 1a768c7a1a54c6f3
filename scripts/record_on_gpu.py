"""Record what this project says of a GPU: one command, that can be stopped and called again.

    python scripts/record_on_gpu.py                     # the models that fit this GPU
    python scripts/record_on_gpu.py --models 0.6B 4B
    python scripts/record_on_gpu.py --profile practice  # the rehearsal, on any machine

For each model: start, memory predicted and measured, known answers, parity with the official
recipe, speed at two lengths, an out-of-memory provoked and diagnosed. Every step leaves one JSON
in the folder and is not done again; --again forgets them. At the end everything is put into one
zip without names, addresses, keys or folders of this machine: attach it to an issue of the
project. With a GPU it takes about 15 minutes a model after the download, and you pay for them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from private_data import left_in, without_private_data

from rerank_kit import launch, machine, memory, models
from rerank_kit.errors import LaunchError, RerankKitError
from rerank_kit.server import Server

REPOSITORY = Path(__file__).resolve().parent.parent
OUT = REPOSITORY / ".work" / "gpu_recording"
#: Words of a document, and how long a pair then is (measured and recorded, not assumed).
SPEED_WORDS = (60, 400)
SPEED_SECONDS = 20.0
#: More keys and values than any card holds beside the weights.
TOO_MUCH_KV_BYTES = 400 * 2**30

Step = Callable[[], dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", default="gpu", choices=("gpu", "cpu", "practice"))
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="default: all that fit")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of the steps' results")
    parser.add_argument("--speed-seconds", type=float, default=SPEED_SECONDS, help="at each length")
    parser.add_argument("--again", action="store_true", help="forget what was recorded before")
    options = parser.parse_args()
    if options.again:
        shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        wanted = options.models or _models_that_fit(options.profile)
        good = run_step(options.out, "machine", _machine)
        for model in wanted:
            good &= record_model(options.out, options.profile, model, options.speed_seconds)
    except RerankKitError as error:
        print(error, file=sys.stderr)
        return 1
    bundle = make_bundle(options.out)
    print(f"\nThe recording: {bundle}\nOpen it and look before you send it to anybody.")
    return 0 if good else 1


def record_model(out: Path, profile: str, model: str, speed_seconds: float) -> bool:
    """All steps of one model. One start serves those that need a server."""
    name = model.rsplit("/", 1)[-1]
    steps: dict[str, Callable[[Server], dict[str, Any]]] = {
        "start": _start,
        "scores": _scores,
        "speed": lambda server: _speed(server, speed_seconds),
    }
    open_steps = [step for step in steps if not _is_done(out / f"{name}-{step}.json")]
    good = True
    for step in steps:
        if step not in open_steps:
            print(f"{name + '-' + step:<32} recorded before")
    if open_steps:
        started = time.monotonic()
        try:
            server = launch(profile, model)
        except LaunchError as error:
            said = {"failed": str(error), "log_tail": error.log_tail}
            return run_step(out, f"{name}-start", lambda: said)
        seconds = time.monotonic() - started
        with server:
            for step in open_steps:
                work = steps[step]
                good &= run_step(out, f"{name}-{step}", lambda work=work: work(server))  # type: ignore[misc]
        if "start" in open_steps:
            _add(out / f"{name}-start.json", {"seconds_to_ready": round(seconds, 1)})
    return good & run_step(out, f"{name}-out_of_memory", lambda: _out_of_memory(profile, model))


def run_step(out: Path, name: str, work: Step) -> bool:
    """Do a step unless its result is there. Returns whether it went well."""
    path = out / f"{name}.json"
    if _is_done(path):
        print(f"{name:<32} recorded before")
        return True
    print(f"{name:<32} ...", flush=True)
    started = time.monotonic()
    try:
        result = work()
    except RerankKitError as error:
        result = {"failed": str(error)}
    result["step_seconds"] = round(time.monotonic() - started, 1)
    text = without_private_data(json.dumps(result, indent=1, ensure_ascii=False))
    path.write_text(text + "\n", encoding="utf-8")
    said = result.get("failed", "done")
    print(f"{name:<32} {str(said).splitlines()[0]} ({result['step_seconds']:.0f} s)")
    return "failed" not in result


def make_bundle(out: Path) -> Path:
    """Everything in one zip. Raises RerankKitError when something private is still in it."""
    bundle = out / "recording.zip"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(out.glob("*.json")):
            text = path.read_text(encoding="utf-8")
            found = left_in(text)
            if found:
                raise RerankKitError(
                    f"{path.name} still holds something private.", evidence=", ".join(found),
                    hint="remove it from the file by hand, then call this command again",
                )
            file.writestr(path.name, text)
    return bundle


def _models_that_fit(profile: str) -> list[str]:
    if profile == "practice":
        return [models.PRACTICE]
    device = memory.device_here("cpu" if profile == "cpu" else None)
    found = [
        made.model for made in memory.every_plan(device, None, None)
        if made.verdict == memory.FITS and not made.quantisation
    ]  # fmt: skip
    return sorted(set(found))


def _machine() -> dict[str, Any]:
    """What was measured on: no host name, no serial number."""
    found = machine.installed_vllm() or ("vllm", "unknown")
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        found[0]: found[1],
        "report": [finding.as_dict() for finding in machine.report()],
        "gpus": [
            {"name": gpu.name, "usable_gib": gpu.usable_gib, "free_gib": gpu.free_gib,
             "compute_capability": gpu.compute_capability, "driver": gpu.driver}
            for gpu in machine.gpus()
        ],
    }  # fmt: skip


def _start(server: Server) -> dict[str, Any]:
    """Memory: what the plan said, what the log says."""
    assert server.settings is not None and server.record is not None
    log_path = Path(server.record.log_path)
    kind = "gpu" if server.profile == "gpu" else "cpu"
    planned = memory.plan(
        server.settings.model, memory.device_here(kind), dtype=server.settings.dtype,
        max_model_len=server.settings.max_model_len,
        max_num_batched_tokens=server.settings.max_num_batched_tokens,
        eager="--enforce-eager" in server.settings.flags,
    ).with_measured(memory.read_log(log_path))  # fmt: skip
    return {
        "command": server.command_line(),
        "plan": planned.as_dict(),
        "log": log_path.read_text(encoding="utf-8", errors="replace"),
    }


def _scores(server: Server) -> dict[str, Any]:
    """The doctor's view, with full parity against the official recipe."""
    assert server.settings is not None
    command = [sys.executable, "-m", "rerank_kit", "doctor", "--url", server.url, "--json"]
    folder = models.local_folder(server.settings.model)
    if folder is not None:
        command += ["--model-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"failed": f"the doctor did not answer: {done.stderr[-300:]}"}
    return found if found.get("ok") else found | {"failed": "the doctor found a fault"}


def _speed(server: Server, seconds_each: float) -> dict[str, Any]:
    """Pairs a second: one query with 64 documents a request, one request after the other."""
    client = server.reranker()
    rows = []
    for words in SPEED_WORDS:
        number = pairs = tokens = 0
        client.score([("warm up", "once")])
        started = time.monotonic()
        while time.monotonic() - started < seconds_each:
            documents = [f"{number} {n} " + f"word{n % 7} " * words for n in range(64)]
            body = {"queries": [f"query {number}"] * 64, "documents": documents}
            tokens += client.transport.post("/v1/score", body)["usage"]["prompt_tokens"]
            pairs, number = pairs + 64, number + 1
        seconds = time.monotonic() - started
        rows.append(
            {"tokens_per_pair": round(tokens / pairs), "pairs": pairs,
             "pairs_per_second": round(pairs / seconds, 2),
             "tokens_per_second": round(tokens / seconds)}
        )  # fmt: skip
    return {"one_query_many_documents": rows}


def _out_of_memory(profile: str, model: str) -> dict[str, Any]:
    """Ask for more memory than there is; the diagnosis and what the log says."""
    flags = ("--kv-cache-memory-bytes", str(TOO_MUCH_KV_BYTES))
    if profile != "gpu":  # a processor would swap or be killed: too little is its failure
        flags = ("--kv-cache-memory-bytes", "1000000")
    try:
        launch(profile, model, port=machine.free_port(), extra_args=flags).stop(force=True)
    except LaunchError as error:
        found = error.diagnosis
        return {
            "flags": list(flags),
            "diagnosis": found.as_dict() if found is not None else None,
            "log_tail": error.log_tail,
        }
    return {"failed": "the server started all the same"}


def _is_done(path: Path) -> bool:
    if not path.exists():
        return False
    return "failed" not in json.loads(path.read_text(encoding="utf-8"))


def _add(path: Path, values: dict[str, Any]) -> None:
    data = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
