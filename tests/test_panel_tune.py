"""The Tune panel without a browser: its choices are the search's, Stop ends it cleanly."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from panel_hands import press
from processes import clean, wait_until

from rerank_kit import panels, registry
from rerank_kit.server import settings_for
from rerank_kit.tuning.agreement import Agreement
from rerank_kit.tuning.knobs import knobs_for
from rerank_kit.tuning.result import Tuned
from rerank_kit.tuning.search import Search, Step
from rerank_kit.tuning.trial import Trial

pytest.importorskip("ipywidgets")


@pytest.fixture
def tune(own_state: Path) -> Any:
    return panels.tune("practice")


def test_untouched_it_is_the_commands_own_search(tune: Any) -> None:
    search = tune.model.prepared()
    settings = settings_for("practice")
    assert (search.base, search.knobs) == (settings, knobs_for(settings))
    assert (search.concurrencies, search.seconds, search.most_starts) == ((1, 2, 4), 10.0, 20)
    assert search.guard.order_kept == 0.99 and search.guard.memory_gib is None
    assert search.workload.name == "technical" and search.start_name == "vLLM's defaults"
    assert set(tune.boxes) == {knob.name for knob in search.knobs}


def test_what_is_chosen_is_what_is_searched(tune: Any) -> None:
    for name, (chosen, _) in tune.boxes.items():
        chosen.value = name in ("--block-size", "--max-num-batched-tokens")
    tune.boxes["--max-num-batched-tokens"][1].value = "2048, 3072，6144"
    tune.dtypes.value, tune.order.value, tune.memory.value = "float16", 98.5, 3.0
    tune.source.value = "my own texts"
    tune.queries.value, tune.documents.value = "怎么退款\nhow to pay", "三天到账\nby card\ncash"
    tune.length.value, tune.each.value, tune.at_once.value = "128", 3, "1 8"
    search = tune.model.prepared()
    assert [(one.name, one.values) for one in search.knobs] == [
        ("--block-size", ("32",)), ("--max-num-batched-tokens", ("3072", "6144")),
        ("--dtype", ("float16",)),
    ]  # fmt: skip
    assert (search.guard.order_kept, search.guard.memory_gib) == (0.985, 3.0)
    assert search.workload.queries == ("怎么退款", "how to pay")
    assert len(search.workload.documents) == 3 and len(search.workload.documents[0]) > 10
    assert search.workload.documents_per_request == 3 and search.concurrencies == (1, 8)
    assert search.start_name == "vLLM's values for these"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda one: setattr(one.at_once, "value", "many"), "no list of whole numbers"),
        (lambda one: setattr(one.boxes["--block-size"][1], "value", "-32"), "no value of"),
        (lambda one: setattr(one.length, "value", "12"), "leaves no room"),
        (lambda one: setattr(one.source, "value", "my own texts"), "box of queries"),
        (lambda one: [setattr(box, "value", False) for box, _ in one.boxes.values()],
         "No setting is chosen"),
    ],
)  # fmt: skip
def test_a_wrong_choice_is_a_sentence_and_starts_nothing(tune: Any, wrong: Any, said: str) -> None:
    wrong(tune)
    press(tune, tune.start, 240)
    assert said in tune.status.value and registry.living() == []
    assert not tune.start.disabled and tune.stop.disabled


def test_every_verdict_is_shown_with_its_reason_in_both_languages(tune: Any) -> None:
    tune.model.search = _searched(tune.model)
    tune.model.changed()
    shown = tune.steps.value
    for said in ("100.0", "40 %", "1.5 GiB", "stays: 100.0", "refused", "not tried"):
        assert said in shown
    assert "Best so far: 130.0 pairs/s" in tune.result.value
    assert "<script" not in shown
    tune.language = "zh"
    assert _english(tune) == []


def test_the_end_is_what_one_pastes_and_what_it_costs(tune: Any) -> None:
    tune.price.value, tune.currency.value = 2.0, "CNY"
    search = _searched(tune.model)
    first, best = search.steps[0].trial, search.steps[1].trial
    assert first is not None and best is not None
    tune.model.search = search
    tune.model.found = Tuned(
        tuple(search.steps), best, first, search.base, search.knobs, {"--block-size": "128"},
        32, 3, 1, 2.0, "CNY",
    )  # fmt: skip
    tune.model.changed()
    assert "1.3 times vLLM's defaults" in tune.result.value
    assert "rerank-kit launch --profile practice -- --block-size 32" in tune.result.value
    assert "0.14 CNY for 1,000 queries of 32 documents" in tune.result.value
    tune.language = "zh"
    assert _english(tune) == []


#: What a page does that is closed while its search runs.
CLOSED = """
import time
from rerank_kit import panels
panel = panels.tune("practice")
panel.model.start()
while panel.model.progress is None and panel.model.busy:
    time.sleep(0.1)
print(panel.model.progress is not None, panel.model.busy)
"""


@pytest.mark.full
def test_a_page_that_is_closed_leaves_no_server_behind(
    own_state: Path, tmp_path: Path
) -> None:
    """And what Ctrl-C of scripts/webapp.sh has to end is written down, should all else fail."""
    noted = tmp_path / "servers"
    environment = os.environ | {"RERANK_KIT_WEBAPP_SERVERS": str(noted)}
    done = subprocess.run(
        [sys.executable, "-c", CLOSED], env=environment, capture_output=True, text=True,
        timeout=400,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "searching", "for", "settings"], done.stderr
    assert clean(own_state) and len(noted.read_text().split()) == 1


@pytest.mark.full
@pytest.mark.timeout(1500)
def test_stopped_it_leaves_no_server_and_goes_on_where_it_stopped(
    tune: Any, own_state: Path
) -> None:
    for name, (chosen, _) in tune.boxes.items():
        chosen.value = name == "--block-size"
    tune.seconds.value, tune.at_once.value, tune.each.value = 1.0, "1", 8
    tune.length.value, tune.starts.value = "128", 1
    tune.start.click()
    wait_until(lambda: "Start 1 of 1 at most" in tune.state.value, 240)
    assert tune.start.disabled and not tune.model.start()
    press(tune, tune.stop, 240)
    assert "Stopped." in tune.state.value and tune.model.problem is None
    assert clean(own_state)

    press(tune, tune.start, 400)
    assert tune.model.problem is None and clean(own_state)
    assert [one.verdict for one in tune.model.steps] == ["start", "skipped"]
    assert "1 starts were allowed" in tune.steps.value

    press(tune, tune.start, 240)  # the first result is there already
    assert tune.model.found.remembered >= 1 and clean(own_state)
    assert "Settings to paste" in tune.result.value


def _searched(model: Any) -> Search:
    """A search with a step of each kind; its sentences come from the search itself."""
    search = model.prepared()
    knob = search.knobs[1]
    plain = Trial({}, 100.0, 1, {"1": 100.0, "2": 130.0}, 128.0, 0.1, 40.0, 0.5, 1.5, 9.0,
                  [[0.9, 0.5, 0.1]])  # fmt: skip
    fast = dataclasses.replace(
        plain, choices={knob.name: "32"}, pairs_per_second=130.0, cached_share=0.4,
    )  # fmt: skip
    search._reference = plain.scores
    search._note(search.start_name, "start",
                 f"{search.start_name}: 100.0 pairs/s of 128 tokens, 40 % of the limit.", plain)
    for trial, best in (
        (fast, plain), (plain, fast), (dataclasses.replace(plain, failed="no room"), plain),
        (dataclasses.replace(fast, scores=[[0.1, 0.5, 0.9]]), plain),
    ):  # fmt: skip
        verdict, sentence, same = search._judge("--block-size 32", knob, trial, best)
        search._note("--block-size 32", verdict, sentence, trial, same)
    search._note("--max-num-seqs 256", "skipped",
                 "--max-num-seqs 256 was not tried: 2 starts were allowed.")
    search._with_client(fast)
    assert {one.verdict for one in search.steps} == {
        "start", "kept", "slower", "failed", "refused", "skipped", "client",
    }  # fmt: skip
    assert isinstance(search.steps[4].agreement, Agreement) and isinstance(search.steps[0], Step)
    search.steps.sort(key=lambda one: one.verdict == "refused")  # the last of the list
    return search


def _english(panel: Any) -> list[str]:
    from test_panel_language import english

    from rerank_kit.panels.views.language import default_language

    assert default_language() == "en"
    return english(panel)
