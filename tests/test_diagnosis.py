"""The diagnosis of server logs: every log in tests/logs is written by us in the programs' format.

tests/logs/FAMILY/NAME.log must be diagnosed as FAMILY; `none` holds healthy logs with warnings
that frighten, `unknown` logs that say nothing.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from diagnosed_logs import FILES, LOGS, read

from rerank_kit.server.diagnosis import diagnose
from rerank_kit.server.logs import parse_line
from rerank_kit.server.remedies import fill_text, gibibytes
from rerank_kit.server.signatures import catalogue

FAMILIES = (
    "gpu_oom_load gpu_oom_warmup gpu_oom_runtime kv_cache_too_small gpu_busy host_oom disk_full "
    "unsupported_architecture wrong_runner wrong_scores bad_request dtype_unsupported kernel_build "
    "driver_mismatch no_gpu hub_unreachable hub_auth bad_model_path port_in_use stalled "
    "unreachable auth request_too_long quantization parallel_size bad_argument corrupt_download "
    "other unknown none"
).split()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_family(path: Path) -> None:
    found = diagnose(path)
    assert found.family == path.parent.name, str(found)
    if found.family not in ("none", "unknown"):
        assert found.evidence, "a failure without evidence"
        assert found.fixes, "a failure without a fix"
        lines = path.read_bytes().split(b"\n")
        for item in found.evidence:
            shown = lines[item.line - 1].decode().split("\r")
            assert any(item.text[:40] in piece or "{" in piece for piece in shown)


#: How a line of vLLM's own log begins, by generation.
GENERATIONS = {
    "0.4 to 0.7": re.compile(r"(?:INFO|WARNING|ERROR) \d\d-\d\d [\d:]{8} \w+\.py:\d+\]"),
    "0.8 to 0.10": re.compile(
        r"(?:^|[^)] ?)(?:INFO|WARNING|ERROR) \d\d-\d\d [\d:]{8} \[\w+\.py:\d+\]", re.M
    ),
    "0.11 and newer": re.compile(r"\((?:APIServer|EngineCore)\w* pid=\d+\)"),
}
#: Of these, other programs write the messages: the driver, the system, docker, clients, hubs.
NOT_OF_VLLM = ("disk_full", "driver_mismatch", "unreachable", "unknown")


def test_every_family_is_described_and_has_three_logs() -> None:
    assert set(catalogue().families) == set(FAMILIES)
    for family in FAMILIES:
        logs = [path for path in FILES if path.parent.name == family]
        assert len(logs) >= 3, family
        if family not in ("none", "unknown"):  # worded differently, not only with other numbers
            said = [diagnose(path).evidence[0].text for path in logs]
            assert len({re.sub(r"[\d.:]+", "", text)[-120:] for text in said}) >= 3, family


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in NOT_OF_VLLM])
def test_logs_come_from_two_generations(family: str) -> None:
    texts = [path.read_text(errors="replace") for path in FILES if path.parent.name == family]
    seen = {name for name, sign in GENERATIONS.items() for text in texts if sign.search(text)}
    assert len(seen) >= 2, seen


def test_every_setting_is_a_flag_of_the_installed_vllm() -> None:
    """Read from vLLM's source: importing its parser takes half a minute."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).parent
    files = [source / "engine" / "arg_utils.py", *(source / "entrypoints").rglob("*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    known = catalogue()
    fixes = [fix for about in (*known.families.values(), *known.signatures) for fix in about.fixes]
    settings = {fix.change for fix in fixes if fix.kind == "setting"}
    settings |= {fix.otherwise for fix in fixes if fix.kind == "setting" and fix.otherwise}
    for setting in settings:
        flag = setting.split()[0].removeprefix("--")
        assert re.search(rf"--{flag}\b|\b{flag.replace('-', '_')}\b", text), setting


def test_no_text_is_left_unfilled() -> None:
    for path in FILES:
        assert not re.search(r"\{\w+\}", str(diagnose(path))), path


def test_as_dict_has_the_stable_keys() -> None:
    found = read("kv_cache_too_small", "length_032").as_dict()
    keys = ["family", "confidence", "stage", "title", "cause", "evidence", "fixes", "numbers"]
    assert list(found) == keys
    assert list(found["evidence"][0]) == ["line", "text"]
    assert list(found["fixes"][0]) == ["kind", "change", "why"]
    json.dumps(found)


def test_fixes_carry_values_computed_from_the_log() -> None:
    assert read("kv_cache_too_small", "length_032").fixes[0].change == "--max-model-len 16640"
    # without the suggested length: 32768 tokens x 1.98 / 4.50 GB, in steps of 256
    assert read("kv_cache_too_small", "length_08").fixes[0].change == "--max-model-len 14336"
    assert read("kv_cache_too_small", "v0_length").fixes[0].change == "--max-model-len 20224"
    changes = [fix.change for fix in read("gpu_busy", "free_032").fixes]
    assert "--gpu-memory-utilization 0.19" in changes  # (5.11 - 0.5) / 23.56
    assert read("bad_argument", "length_08").fixes[0].change == "--max-model-len 40960"
    assert read("parallel_size", "heads_08").fixes[0].change == "--tensor-parallel-size 2"
    assert read("port_in_use", "docker").fixes[0].change == "--port 8001"
    assert read("gpu_oom_warmup", "profile_v1_032").fixes[0].change.endswith(" 8192")


def test_the_first_fix_is_the_one_that_helps() -> None:
    """Nothing else holds the T4: to close other programs would not make room for an 8B."""
    alone = read("gpu_oom_load", "t4_8b_alone")
    assert alone.fixes[0].change.startswith("--quantization fp8")
    shared = read("gpu_oom_load", "t4_with_a_notebook")
    assert "2.63 GiB" in shared.fixes[0].change and "Close" in shared.fixes[0].change
    for name in ("random_head_09", "newly_initialized"):
        assert "--hf-overrides" in read("wrong_scores", name).fixes[0].change
    killed = read("host_oom", "worker_killed_032")
    assert killed.confidence == "likely" and "died unexpectedly" in killed.evidence[0].text
    assert killed.fixes[0].kind == "setting" and "Start it again" in killed.fixes[0].why
    assert read("parallel_size", "one_numa_node").fixes[0].change == "--tensor-parallel-size 1"
    assert read("parallel_size", "pp_unsupported").fixes[0].change == "--pipeline-parallel-size 1"
    assert "Leave out --quantization" in read("quantization", "fp8_on_cpu").fixes[0].change
    assert read("quantization", "fp8_renamed").fixes[0].change == "--quantization fp8_per_tensor"
    assert read("wrong_runner", "convert_needed").fixes[0].change == "--convert classify"
    assert "--runner pooling" in read("bad_argument", "task_removed").fixes[0].change
    assert "unset HF_HUB_OFFLINE" in read("hub_unreachable", "offline_mode").fixes[0].change
    assert "client_max_body_size" in str(read("request_too_long", "nginx_413").fixes)


@pytest.mark.parametrize(
    ("log", "fix"),
    [
        ("kernel_build/ninja_absent", "pip install ninja"),
        ("kernel_build/python_h", "python3-dev"),
        ("kernel_build/no_c_compiler", "build-essential"),
        ("kernel_build/nvcc_absent", "VLLM_USE_FLASHINFER_SAMPLER=0"),
        ("driver_mismatch/nvml", "sudo reboot"),
        ("dtype_unsupported/gemma", "--dtype bfloat16"),
        ("no_gpu/docker", "nvidia-container-toolkit"),
        ("hub_unreachable/rate_limited", "hf auth login"),
        ("hub_unreachable/ssl", "CERT_FILE="),
        ("bad_argument/lora_rank", "--max-lora-rank 64"),
        ("bad_argument/vllm_port_service", "enableServiceLinks"),
        ("other/uva_wsl", "VLLM_WSL2_ENABLE_PIN_MEMORY=1"),
        ("other/mig_uuid", "CUDA_VISIBLE_DEVICES=0"),
        ("wrong_runner/words_of_the_score", "classifier_from_token"),
    ],
)
def test_the_first_fix_is_the_failures_own(log: str, fix: str) -> None:
    found = diagnose(LOGS / f"{log}.log")
    assert fix in found.fixes[0].change, str(found)


def test_an_explicit_cache_size_is_what_is_raised_or_dropped() -> None:
    """Beside --kv-cache-memory-bytes the utilisation does not size the cache."""
    found = read("kv_cache_too_small", "bytes_none")
    assert found.fixes[0].change.startswith("Leave out --kv-cache-memory-bytes 1000000")
    assert "--gpu-memory-utilization" not in "".join(fix.change for fix in found.fixes)
    # 0.88 GiB are needed, as rounded: 0.89 GiB in bytes, in whole MiB
    found = read("kv_cache_too_small", "bytes_length")
    assert found.fixes[0].change == f"--kv-cache-memory-bytes {912 * 2**20}"


def test_a_refused_flag_is_named_with_its_line() -> None:
    found = read("bad_argument", "api_server")
    assert found.evidence[0].line == 4
    assert "--no-such-flag" in found.cause


def test_a_cause_never_comes_out_empty() -> None:
    """Each has a sentence that needs no number of the log."""
    known = catalogue()
    for about in (*known.families.values(), *known.signatures):
        assert not about.cause or fill_text(about.cause, {}), about.cause
        assert not about.title or fill_text(about.title, {}), about.title


def test_an_unknown_variable_is_never_the_cause() -> None:
    line = "WARNING 11-20 09:51:03 [interface.py:1457] Unknown vLLM environment variable detected"
    assert diagnose([f"{line}: VLLM_X"]).family in ("unknown", "none")
    assert diagnose([line, "ValueError: No available memory for the cache blocks."]).fixes


def test_a_failure_before_the_end_of_a_server_still_counts() -> None:
    """A stop explains what follows it, not what came before."""
    up = ["INFO:     Application startup complete."]
    death = ["ERROR 11-20 09:51:03 [core.py:1512] torch.OutOfMemoryError: CUDA out of memory."]
    assert diagnose([*up, *death, "INFO:     Shutting down"]).family == "gpu_oom_runtime"
    assert diagnose([*up, "INFO:     Shutting down", *death]).family == "none"


def test_an_ordinary_word_is_not_taken_for_a_level() -> None:
    [message] = parse_line("ERROR 03-10 08:07:20 [core.py:302] Error retrieving file list: x")
    assert message.text == "Error retrieving file list: x"


def test_the_index_finds_what_looking_for_each_would_find() -> None:
    known = catalogue()
    for path in FILES:
        for line in path.read_text(errors="replace").split("\n"):
            plain = [i for i, s in enumerate(known.signatures) if s.hint in line]
            assert known.index.found_in(line) == plain


def test_the_first_cause_wins_over_a_later_failure() -> None:
    assert read("kv_cache_too_small", "then_port").family == "kv_cache_too_small"


def test_a_wrapper_alone_is_not_a_cause() -> None:
    """ "Engine core initialization failed" only says that the cause stands elsewhere."""
    found = read("unknown", "wrapper_only")
    assert (found.family, found.confidence) == ("unknown", "unknown")


def test_memory_held_by_another_process_is_not_a_model_too_large() -> None:
    assert read("gpu_busy", "oom_by_other_process").numbers["others_gib"] > 20


def test_killed_without_a_word() -> None:
    healthy = ["INFO 04-09 05:39:36 [gpu_model_runner.py:1329] Starting to load model x..."]
    for status in (-9, 137):
        found = diagnose(healthy, exit_status=status)
        assert (found.family, found.confidence) == ("host_oom", "likely")
    assert diagnose([], exit_status=-9).family == "host_oom"
    assert diagnose([], exit_status=1).family == "unknown"
    assert diagnose([]).family == "unknown"
    assert diagnose(healthy, exit_status=0).family == "none"


def test_stage() -> None:
    assert read("gpu_oom_runtime", "v1_032").stage == "serving"
    assert read("disk_full", "errno28").stage == "download"


def test_nothing_is_certain_that_only_mentions_a_failure() -> None:
    text = "Somebody wrote: torch.OutOfMemoryError: CUDA out of memory in a log."
    assert diagnose([text]).confidence != "certain"


def test_every_signature_can_be_reached_through_the_quick_look() -> None:
    known = catalogue()
    for signature in known.signatures:
        assert any(word in signature.hint for word in known.words), signature.regex.pattern


def test_sizes() -> None:
    assert gibibytes("224.00 MiB") == pytest.approx(0.2188, abs=1e-4)


def test_memory_that_is_named_before_its_traceback_is_placed_by_it() -> None:
    """V0's engine writes the message first, and then the traceback that tells when it was."""
    found = read("gpu_oom_warmup", "v0_message_first")
    assert (found.stage, found.confidence) == ("warmup", "certain")
    said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB."
    places = ['  File "/x/worker.py", line 3, in determine_num_available_blocks', "    y()"]
    told = [said, "Traceback (most recent call last):", *places, said]
    lines = [f"ERROR 11-20 09:51:02 engine.py:366] {line}" for line in told]
    assert diagnose(lines).family == "gpu_oom_warmup"
    assert diagnose(lines[:1]).confidence == "likely"


@pytest.mark.parametrize(
    ("place", "function", "family"),
    [
        ("vllm/model_executor/layers/quantization/new.py", "create_weights", "quantization"),
        ("vllm/config/vllm.py", "__post_init__", "bad_argument"),
        ("vllm/model_executor/models/qwen3.py", "load_weights", "unsupported_architecture"),
        ("vllm/v1/attention/backends/new.py", "__init__", "kernel_build"),
        ("vllm/somewhere/else.py", "f", "other"),
    ],
)
def test_a_message_nobody_knows_is_placed_by_the_code_that_raised_it(
    place: str, function: str, family: str
) -> None:
    head = ["Traceback (most recent call last):", '  File "/x/vllm/engine.py", line 1, in f']
    told = [*head, "    g()", f'  File "/x/{place}", line 2, in {function}', "    h()"]
    told.append("ValueError: something that no version has said so far")
    found = diagnose([f"ERROR 11-20 09:51:02 [core.py:1] {line}" for line in told])
    assert (found.family, found.confidence) == (family, "likely")
    assert "something that no version" in found.evidence[0].text and found.fixes


def test_known_words_win_over_the_place() -> None:
    places = ['  File "/x/vllm/config/vllm.py", line 2, in __post_init__', "    h()"]
    cause = "ValueError: No available memory for the cache blocks."
    found = diagnose(["Traceback (most recent call last):", *places, cause])
    assert found.family == "kv_cache_too_small"


def test_a_start_that_waits_and_waits_is_told_from_one_that_came_up() -> None:
    line = "DEBUG 03-03 10:00:00 [utils.py:741] Waiting for 1 local, 0 remote core engine proc(s)"
    waiting = ["INFO 03-03 10:00:00 [api_server.py:1] vLLM API server version 0.32.0", *[line] * 20]
    assert diagnose(waiting).family == "stalled"
    assert diagnose(waiting[:5]).family == "none"
    assert diagnose([*waiting, "INFO:     Application startup complete."]).family == "none"
    assert diagnose([*waiting[:12], *waiting[:12]]).family == "none"  # two starts, neither long


#: What a dying server and the tools around it write after the cause.
DEATH_THROES = (
    "(EngineCore pid=3) ERROR 11-20 09:59:57 [multiproc_executor.py:246] Worker proc VllmWorker-1"
    " died unexpectedly, shutting down executor.",
    "[rank1]: torch.distributed.DistBackendError: NCCL error in: remote process exited",
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "curl: (7) Failed to connect to localhost port 8000: Couldn't connect to server",
    "./run.sh: line 3:  4411 Killed                  vllm serve Qwen/Qwen3-8B",
    "vllm-1 exited with code 1",
)


@pytest.mark.parametrize(
    "log",
    ["quantization/tensor_sizes", "kv_cache_too_small/length_032", "gpu_oom_load/v1_08",
     "unsupported_architecture/config_none", "other/mig_uuid", "bad_argument/lora_rank"],
)  # fmt: skip
def test_what_follows_the_cause_does_not_hide_it(log: str) -> None:
    text = (LOGS / f"{log}.log").read_text(encoding="utf-8")
    found = diagnose([*text.split("\n"), *DEATH_THROES])
    assert found.family == log.split("/")[0], str(found)


def test_a_hub_that_was_slow_once_is_not_the_cause_of_what_comes_later() -> None:
    slow = "'(ReadTimeoutError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Read timed "
    slow += "out.\"), '(Request ID: 1)')' thrown while requesting HEAD https://huggingface.co/a/b"
    later = ["Traceback (most recent call last):", '  File "/x/tokens.py", line 1, in f', "    g"]
    found = diagnose([slow, *later, "AttributeError: Qwen2Tokenizer has no attribute x"])
    assert found.family == "other" and "do not fit" in found.title
    gone = diagnose([slow, *later, "OSError: Can't load the configuration of 'a/b'."])
    assert gone.family == "hub_unreachable"
    assert diagnose([slow]).confidence == "likely"
