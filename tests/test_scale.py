"""Past one GPU: the arithmetic, the arrangement of GPUs, and a router in front of real servers."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from processes import cli

from rerank_kit import Server, errors, machine
from rerank_kit.scale import Capacity, Load, Router, Speed, arrange, parallel, router_command
from rerank_kit.scale import capacity as capacity_module

REPOSITORY = Path(__file__).parent.parent


def test_examples_in_docstrings() -> None:
    for module in (capacity_module, parallel):
        done = doctest.testmod(module)
        assert done.attempted and not done.failed


def test_the_arithmetic_is_the_one_on_paper() -> None:
    made = Capacity(
        Load(864_000, 100, 400, peak_factor=2), Speed(500.0, 200),
        gpus_per_machine=4, price_per_hour=10.0, currency="CNY", utilisation=0.5,
    )  # fmt: skip
    # 1,000 pairs/s on average, 2,000 at the peak; a GPU does 250 at this length, 125 planned
    assert made.load.pairs_per_second_at_peak == pytest.approx(2000)
    assert made.pairs_per_second_of_a_gpu == pytest.approx(125)
    assert (made.gpus, made.machines) == (16, 5)
    assert made.cost_per_day == 1200
    assert made.least_cost_per_day == pytest.approx(86_400_000 / 125 / 3600 / 4 * 10)
    assert made.cost_per_thousand_queries == pytest.approx(1200 / 864)
    text = str(made)
    for words in ("86,400,000", "2,000.0 pairs/s", "= 16", "= 5", "1200.00 CNY a day"):
        assert words in text
    assert "money" not in str(Capacity(Load(1, 1, 1), Speed(1, 1)))


@pytest.mark.parametrize(
    "wrong",
    [lambda: Load(0, 1, 1), lambda: Load(1, 1, 1, peak_factor=0.5), lambda: Speed(-1, 1),
     lambda: Capacity(Load(1, 1, 1), Speed(1, 1), utilisation=0),
     lambda: Capacity(Load(1, 1, 1), Speed(1, 1), spare_machines=-1)],
)  # fmt: skip
def test_a_load_that_cannot_be_is_refused(wrong: object) -> None:
    with pytest.raises(errors.InputError):
        wrong()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("model", "card", "gpus", "flags"),
    [("0.6B", "T4", 1, []), ("0.6B", "T4", 4, ["--data-parallel-size", "4"]),
     ("8B", "T4", 2, ["--tensor-parallel-size", "2"]),
     ("8B", "T4", 4, ["--tensor-parallel-size", "2", "--data-parallel-size", "2"]),
     ("8B", "A100 80GB", 8, ["--data-parallel-size", "8"])],
)  # fmt: skip
def test_gpus_are_shared_only_when_they_must_be(
    model: str, card: str, gpus: int, flags: list[str]
) -> None:
    made = arrange(model, card, gpus)
    assert made.flags() == flags
    assert len(made.commands()) == made.copies
    assert made.gpus_per_copy * made.copies <= gpus
    launches = [line for line in str(made).splitlines() if "rerank-kit launch" in line]
    assert all("rerank-kit launch --profile gpu --model" in line for line in launches)


def test_what_fits_on_no_number_of_cards_is_said() -> None:
    with pytest.raises(errors.InputError, match="does not fit"):
        arrange("8B", "T4", 1)


@pytest.mark.full
def test_vllm_takes_the_flags_of_an_arrangement() -> None:
    code = (
        "import sys; from vllm.engine.arg_utils import EngineArgs\n"
        "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
        "found = EngineArgs.add_cli_args(FlexibleArgumentParser()).parse_args(sys.argv[1:])\n"
        "print(found.tensor_parallel_size, found.data_parallel_size)"
    )
    flags = arrange("8B", "T4", 8).flags()
    done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True,
                          timeout=300)  # fmt: skip
    assert done.stdout.split()[-2:] == ["2", "4"], done.stderr[-500:]


def test_plan_goes_beyond_one_gpu() -> None:
    words = ("plan", "--queries-per-day", "1e6", "--pairs-per-second", "200")
    done = cli(*words, "--price-per-hour", "2", "--currency", "CNY")
    assert done.returncode == 0 and "machines:" in done.stdout and "CNY a day" in done.stdout
    assert json.loads(cli(*words, "--json").stdout)["cost_per_day"] is None
    assert cli(*words[:3]).returncode == 2
    several = cli("plan", "--gpu", "T4", "--gpus", "2", "--model", "8B", "--json")
    assert json.loads(several.stdout)["gpus_per_copy"] == 2
    assert cli("plan", "--gpus", "2").returncode == 2


def test_a_router_needs_servers() -> None:
    with pytest.raises(errors.InputError):
        router_command([], 1, 2)
    with pytest.raises(errors.InputError):
        router_command(["http://a", "http://a"], 1, 2)


def test_a_ranking_through_the_router_is_the_same(server: Server) -> None:
    from rerank_kit import Reranker

    documents = ["The train leaves at noon.", "Water a cactus every two weeks."]
    direct = server.reranker().rank("How do I water a cactus?", documents)
    with Router([server.url]) as router:
        assert router.workers() == {server.url: True}
        through = Reranker(router.url).rank("How do I water a cactus?", documents)
        # Why the kit asks /v1/score: should one of these change, the module's text is stale.
        body = {"model": server.model, "query": "a", "documents": ["b"]}
        assert requests.post(f"{router.url}/v1/rerank", json=body, timeout=30).status_code == 404
        assert requests.post(f"{router.url}/rerank", json=body, timeout=30).status_code == 500
    assert [one.text for one in through] == [one.text for one in direct]
    assert [one.score for one in through] == pytest.approx([one.score for one in direct], abs=1e-5)
    assert machine.port_is_free(router.port) and router.stop()


def test_the_template_for_sglang_gives_the_official_prompt() -> None:
    from fuzzed_pairs import fuzzed_triples
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from rerank_kit import prompt
    from rerank_kit.scale.sglang import TEMPLATE, sglang_arguments

    # As SGLang 0.5.23 loads a .jinja file (template_manager.py) and renders it (serving_rerank.py).
    loaded = TEMPLATE.read_text(encoding="utf-8").strip("\n").replace("\\n", "\n")
    template = ImmutableSandboxedEnvironment().from_string(loaded)
    for triple in fuzzed_triples():
        messages = [{"role": "user", "content": triple.query},
                    {"role": "user", "content": triple.document}]  # fmt: skip
        more = {"instruct": triple.instruction} if triple.instruction else {}
        made = template.render(messages=messages, **more)
        assert made == prompt.render(triple.query, triple.document, triple.instruction)
    assert 'answer can only be "yes" or "no"' in loaded.lower()  # by this SGLang knows the model
    assert "--is-embedding" not in sglang_arguments()
    printed = cli("launch", "--engine", "sglang", "--model", "4B", "--print")
    assert printed.returncode == 0 and "sglang.launch_server" in printed.stdout
    assert cli("launch", "--engine", "sglang").returncode == 2


def test_the_cluster_files_end_what_they_start_and_hold_no_key() -> None:
    import yaml

    folder = REPOSITORY / "scripts" / "cluster"
    read = {path.name: yaml.safe_load(path.read_text()) for path in folder.glob("*.yaml")}
    assert len(read) == 3
    task, service = read["sky-task.yaml"], read["sky-service.yaml"]
    assert task["resources"]["autostop"]["down"] is True and "ports" not in task["resources"]
    assert service["secrets"] == {"RERANK_API_KEY": None}
    assert "rerank-kit proxy" in service["run"]  # a key on every path
    engine = read["kubernetes-values.yaml"]["servingEngineSpec"]
    assert engine["vllmApiKey"].keys() == {"secretName", "secretKey"}
    flags = engine["modelSpec"][0]["vllmConfig"]["extraArgs"]
    overrides = json.loads(flags[flags.index("--hf-overrides") + 1])
    assert overrides["is_original_qwen3_reranker"] is True


def test_stop_ends_a_router_whose_program_was_killed(
    server: Server, own_state: Path
) -> None:
    code = (
        "import os, sys; from rerank_kit.scale import Router\n"
        "print(Router([sys.argv[1]]).port, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, server.url], capture_output=True, text=True,
                          timeout=300)  # fmt: skip
    port = int(done.stdout)
    assert not machine.port_is_free(port)
    assert f"router on port {port}: ended" in cli("stop").stdout
    assert machine.port_is_free(port)
    assert cli("stop").stdout.strip() == "nothing of ours was running"


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_no_request_is_lost_when_one_of_two_servers_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, str(REPOSITORY / "scripts" / "failover.py")]
    done = subprocess.run(
        [*words, "--phase-requests", "30", "--json", str(tmp_path / "counts.json")],
        capture_output=True, text=True, timeout=1100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["lost"] == counts["wrong"] == 0
    assert counts["answered"] == counts["sent"] >= 90
    assert min(counts["requests_of_each_before"]) > 5  # it really shared the work
