"""Real vLLM servers that are launched wrongly on purpose, each as people really do it, and healthy
ones beside them. The doctor has to name every fault, and nothing else.

Each fault is the practice server with one thing changed. `faults` are the ids of the doctor's
findings that have to be [fix]; every other finding has to be something else.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import requests

from rerank_kit import Examination, examine, models
from rerank_kit.machine import free_port
from rerank_kit.prompt import chat_template_path
from rerank_kit.server import process_group
from rerank_kit.server.profiles import settings_for
from rerank_kit.server.settings import ServerSettings

#: A start takes 20 s on two idle cores; on a busy machine several times that.
START_SECONDS = 400.0
KEY = "a-key-for-this-test-only"


@dataclass(frozen=True)
class Launch:
    """One server. without: flags taken away; flags: given last; faults: what the doctor must
    find; make: prepares files in a folder and returns more flags."""

    name: str
    faults: frozenset[str] = frozenset()
    without: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    make: Callable[[Path], Sequence[str]] | None = None
    host: str = "127.0.0.1"
    environment: dict[str, str] = field(default_factory=dict)
    key: str = ""  # the key that the doctor is given


def _template(folder: Path, text: str) -> list[str]:
    path = folder / "template.jinja"
    path.write_text(text, encoding="utf-8", newline="")
    return ["--chat-template", str(path)]


def _official() -> str:
    return chat_template_path().read_bytes().decode()


def _one_newline_less(folder: Path) -> list[str]:
    """What vLLM's own example template does: it ends as the prompt ends, and Jinja drops one."""
    return _template(folder, _official().removesuffix("\n"))


def _two_newlines_between_fields(folder: Path) -> list[str]:
    """The fields as the official vLLM sample joins them; the model was trained with one."""
    text = _official().replace("\n<Query>:", "\n\n<Query>:")
    return _template(folder, text.replace("\n<Document>:", "\n\n<Document>:"))


def _as_example_templates_do(folder: Path) -> list[str]:
    """The right prompt, but the instruction is fixed and texts are not kept from breaking out."""
    text = _official().replace("safe(instruction | default(", "(none | default(")
    return _template(folder, text.replace("safe(texts.", "(texts."))


def _template_only_in_the_tokenizer(folder: Path) -> list[str]:
    """A checkpoint that carries the official template: /tokenize shows it, the scores ignore it
    (vLLM uses --chat-template only)."""
    model = _copy_of_the_practice_model(folder)
    settings = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["chat_template"] = _official()
    (model / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return ["--model", str(model)]


def _copy_of_the_practice_model(folder: Path) -> Path:
    """Links to the model's files, so that single files can be replaced."""
    model = folder / "practice"
    model.mkdir()
    for path in models.practice_model_dir().iterdir():
        if path.name == "tokenizer_config.json":
            (model / path.name).write_bytes(path.read_bytes())
        else:
            (model / path.name).symlink_to(path)
    return model


def _converted(folder: Path) -> list[str]:
    """The practice model as a sequence-classification checkpoint: its head is yes minus no."""
    from safetensors.torch import load_file, save_file  # torch: only where it is needed

    model = _copy_of_the_practice_model(folder)
    source = models.practice_model_dir()
    tensors = load_file(source / "model.safetensors")
    vocabulary = json.loads((source / "tokenizer.json").read_text())["model"]["vocab"]
    table = tensors["model.embed_tokens.weight"].float()
    tensors["score.weight"] = (table[vocabulary["yes"]] - table[vocabulary["no"]])[None]
    config = json.loads((source / "config.json").read_text()) | {
        "architectures": ["Qwen3ForSequenceClassification"],
        "num_labels": 1,
    }
    for name in ("model.safetensors", "config.json"):
        (model / name).unlink()
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    (model / "config.json").write_text(json.dumps(config))
    return ["--model", str(model)]


def _overrides(**changes: object) -> tuple[str, str]:
    return "--hf-overrides", json.dumps(models.RERANKER_OVERRIDES | changes)


def _ids(text: str) -> frozenset[str]:
    return frozenset(text.split())


MISLAUNCHED = (
    Launch("no overrides", _ids("reranks"), without=("--hf-overrides",)),
    Launch("generate runner", _ids("reranks"), without=("--runner", "--hf-overrides")),
    Launch("no template", _ids("official_prompt instruction control_tokens"),
           without=("--chat-template",)),
    Launch("template one newline short", _ids("official_prompt"), make=_one_newline_less),
    Launch("two newlines between fields", _ids("official_prompt"),
           make=_two_newlines_between_fields),
    Launch("template only in the tokenizer", _ids("official_prompt instruction control_tokens"),
           without=("--chat-template", "--model"), make=_template_only_in_the_tokenizer),
    Launch("fixed instruction, unsafe texts", _ids("instruction control_tokens"),
           make=_as_example_templates_do),
    Launch("swapped classifier tokens", _ids("yes_no_order"),
           flags=_overrides(classifier_from_token=["yes", "no"])),
    Launch("no activation", _ids("activation"),
           flags=("--pooler-config", '{"use_activation": false}')),
    Launch("bfloat16", _ids("precision"), flags=("--dtype", "bfloat16")),
    Launch("float16", _ids("precision"), flags=("--dtype", "float16")),
    Launch("short context, open to all", _ids("context_length address access"),
           flags=("--max-model-len", "256"), host="0.0.0.0"),
    Launch("key not given to the doctor", _ids("reachable"), environment={"VLLM_API_KEY": KEY}),
    Launch("key, open to all", _ids("address access"), environment={"VLLM_API_KEY": KEY},
           host="0.0.0.0", key=KEY),
)  # fmt: skip
HEALTHY = (
    Launch("healthy"),
    Launch("healthy, converted checkpoint, key", without=("--hf-overrides", "--model"),
           make=_converted, environment={"VLLM_API_KEY": KEY}, key=KEY),
)  # fmt: skip
EVERY = (*MISLAUNCHED, *HEALTHY)


def examine_all(
    launches: Sequence[Launch], folder: Path, at_once: int = 2
) -> dict[str, Examination]:
    """Start each server once, `at_once` side by side, and examine it from outside."""

    def one(numbered: tuple[int, Launch]) -> tuple[str, Examination]:
        number, launch = numbered
        with started(launch, folder / str(number)) as url:
            return launch.name, examine(url, launch.key)

    with ThreadPoolExecutor(at_once) as pool:
        return dict(pool.map(one, enumerate(launches)))


def argv_of(launch: Launch, folder: Path, port: int) -> tuple[list[str], ServerSettings]:
    """The practice server's command line with the launch's changes."""
    settings = replace(settings_for("practice"), host=launch.host)
    made = list(launch.make(folder)) if launch.make else []
    words = settings.argv(port)
    for flag in launch.without:
        place = words.index(flag)
        del words[place : place + 2]
    return [*words, *launch.flags, *made], settings


@contextmanager
def started(launch: Launch, folder: Path) -> Iterator[str]:
    """The address of the running server; its process group is ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    words, settings = argv_of(launch, folder, port)
    log = folder / "server.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, env=settings.process_environment() | launch.environment,
        )  # fmt: skip
    try:
        _wait(child, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        process_group.end_group(child.pid)
        child.wait(180)


def _wait(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise AssertionError(f"vLLM ended with {child.returncode}:\n{tail}")
        try:
            if requests.get(f"{url}/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.25)
    raise AssertionError(f"no server after {START_SECONDS:.0f} s; see {log}")
