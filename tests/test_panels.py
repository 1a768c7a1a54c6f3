"""The panels without a browser: what they know and do, and what they put into their widgets. Rank,
Search with Judge, Tune and the language have files of their own (test_panel_*.py)."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from panel_hands import below, press

from rerank_kit import memory, panels
from rerank_kit.errors import InputError
from rerank_kit.panels.logic.choice import CACHE, LENGTH, STEP
from rerank_kit.panels.logic.launching import LaunchModel
from rerank_kit.panels.logic.spending import BESIDES
from rerank_kit.panels.logic.steps import Steps
from rerank_kit.panels.logic.work import Model
from rerank_kit.server import settings_for
from rerank_kit.server.diagnosis import diagnose

ipywidgets = pytest.importorskip("ipywidgets")

MAKERS = {name: getattr(panels, name) for name in panels.__all__}
LOGS = Path(__file__).parent / "logs"
MIB = 2**20


# --- the frame ------------------------------------------------------------------------------


def test_importing_the_panels_loads_no_widgets() -> None:
    code = "import sys, rerank_kit.panels; print('ipywidgets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "False", done.stderr


def test_without_ipywidgets_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['ipywidgets'] = None\n"
        "from rerank_kit import panels, RerankKitError\n"
        "try: panels.rank()\n"
        "except RerankKitError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert 'pip install "rerank-kit[notebooks]"' in done.stdout, done.stderr


@pytest.mark.parametrize("name", MAKERS)
def test_a_panel_has_a_text_form_that_never_changes(name: str, own_state: Path) -> None:
    """Saved notebooks are compared with it; a reader without widgets is told what to do."""
    first, second = MAKERS[name](), MAKERS[name]()
    assert repr(first) == repr(second) and "bash scripts/webapp.sh" in repr(first)
    assert "0x" not in repr(first) and first.model.problem is None
    bundle = first._repr_mimebundle_()
    assert bundle["text/plain"] == repr(first)
    assert "application/vnd.jupyter.widget-view+json" in bundle


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "app"])
def test_everything_that_can_be_used_has_a_name(name: str, own_state: Path) -> None:
    """What a screen reader says. A slider has none: the labelled number beside it does."""
    for one in below(MAKERS[name]().widget):
        if isinstance(one, ipywidgets.IntSlider | ipywidgets.HTML | ipywidgets.Box):
            continue
        assert one.description, f"{type(one).__name__} of {name} has no label"


def test_the_style_sheet_asks_no_outside_host() -> None:
    for path in Path(panels.__file__).parent.rglob("*.css"):
        assert not re.search(r"https?:|@import|url\(", path.read_text(encoding="utf-8")), path


def test_only_one_thing_is_done_at_a_time() -> None:
    model, may_end = Model(), threading.Event()
    assert model.begin("waiting", lambda: may_end.wait(30) and None)
    assert not model.begin("another thing", lambda: None) and model.busy == "waiting"
    may_end.set()
    model.join()
    assert model.busy == "" and model.problem is None


def test_an_error_in_the_background_is_never_lost() -> None:
    """In a thread it would end up in some cell's stderr, and the panel would look busy."""
    model = Model()

    def work() -> None:
        raise InputError("It broke.", hint="mend it")

    model.begin("breaking", work)
    model.join()
    assert model.problem is not None and model.busy == ""
    assert (model.problem.sentence, model.problem.hint) == ("It broke.", "mend it")


def test_an_unknown_error_is_one_sentence_and_no_traceback(rank: Any) -> None:
    def explode(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("line one\nline two")

    rank.model.source.get = explode
    press(rank, rank.rank)
    shown = rank.status.value
    assert "rerank_kit does not know" in shown and "ZeroDivisionError: line one" in shown
    assert "Traceback" not in shown and "line two" not in shown and 'role="alert"' in shown


def test_a_watcher_that_raises_does_not_kill_the_work() -> None:
    model = Model()
    model.watch(lambda: 1 / 0)
    model.begin("working", lambda: None)
    model.join()
    assert model.busy == "" and isinstance(model.last_error, ZeroDivisionError)


# --- Launch ---------------------------------------------------------------------------------


def test_the_sliders_move_the_command_and_the_memory(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    before = panel.model.memory_bar()
    assert panel.cache.slider.value == settings_for("practice").kv_cache_memory_bytes // MIB
    panel.cache.slider.value = 1024
    after = panel.model.memory_bar()
    assert dict(after.parts)["KV cache"] == 1.0 and after.needed_gib > before.needed_gib
    assert f"--kv-cache-memory-bytes {1024 * MIB}" in panel.command.value
    assert "KV cache 1.00 GiB" in panel.memory.value and panel.cache.number.value == 1024
    panel.length.number.value = 2048
    assert panel.model.attempt.arguments == (CACHE, str(1024 * MIB), LENGTH, "2048")
    assert panel.model.settings().argv(8000)[-4:] == [CACHE, str(1024 * MIB), LENGTH, "2048"]
    for flag in (CACHE, LENGTH):  # a reader of the command must not have to know which one counts
        assert panel.command.value.count(flag) == 1, panel.command.value


def test_a_cache_too_small_is_foretold(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    panel.cache.number.value = 1
    assert "the start will fail" in panel.memory.value


def test_flags_typed_by_hand_stay_beside_the_sliders(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    panel.step.number.value = 2048
    panel.flags.value = "--max-num-seqs 32 --seed 1"
    assert panel.model.attempt.arguments == (STEP, "2048", "--max-num-seqs", "32", "--seed", "1")
    panel.step.number.value = 1024
    assert panel.model.value(STEP) == 1024 and "--max-num-seqs 32" in panel.command.value
    panel.flags.value = '--seed "1'
    assert "cannot be read" in panel.status.value and panel.model.value(STEP) == 1024
    panel.flags.value = "--api-key secret"
    assert "--api-key cannot be passed" in panel.command.value


def test_a_failure_has_a_card_and_its_fix_changes_the_settings(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    panel.cache.number.value = 8
    panel.model.diagnosis = diagnose(LOGS / "kv_cache_too_small/bytes_length.log")
    panel.model.changed()
    assert "kv_cache_too_small" in panel.card.value and 'role="alert"' in panel.card.value
    buttons = [one for one in below(panel.fixes) if isinstance(one, ipywidgets.Button)]
    assert [one.description for one in buttons][:1] == ["Apply this fix"]
    fix = next(fix for fix, can_apply in panel.model.fixes() if can_apply)
    assert fix.change.startswith(CACHE) and fix.change == buttons[0].tooltip
    buttons[0].click()
    assert panel.model.value(CACHE) == int(fix.change.split()[1])
    assert panel.cache.number.value == int(fix.change.split()[1]) // MIB
    assert panel.card.value == "" and panel.fixes.children == () and "Changed" in panel.state.value


def test_a_command_or_advice_has_no_button(own_state: Path) -> None:
    panel: Any = panels.launch("practice")
    panel.model.diagnosis = diagnose(LOGS / "disk_full/errno28.log")
    panel.model.changed()
    assert panel.model.fixes() and not any(can_apply for _, can_apply in panel.model.fixes())
    assert not any(isinstance(one, ipywidgets.Button) for one in below(panel.fixes))


def test_it_sees_the_server_that_runs_and_stops_no_stranger_s(server: Any) -> None:
    panel: Any = panels.launch("practice")
    panel.model.look()
    assert panel.model.state == "ready" and "Ready:" in panel.state.value
    panel.price.value = 1000.0
    panel.model.look()
    assert "so far" in panel.state.value
    panel.show_log.value = True
    assert "INFO" in panel.log.value and "<pre>" in panel.log.value
    panel.model.server = None
    panel.model.record.owner_pid = 0  # as `rerank-kit launch` leaves it
    press(panel, panel.stop)
    assert "Stop it for everybody" in panel.state.value and panel.force.layout.display is None
    assert server.reranker().score([("a", "b")])  # it lives


def test_the_remote_profile_starts_nothing(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RERANK_URL", raising=False)
    panel: Any = panels.launch("practice")
    panel.profile.value = "remote"
    assert "RERANK_URL" in panel.status.value and panel.model.problem is not None
    press(panel, panel.start)
    assert "The remote profile needs" in panel.status.value
    panel.profile.value = "practice"
    assert "vllm serve" in panel.command.value and panel.model.problem is None


def test_price_of_the_guard_is_known(own_state: Path) -> None:
    from rerank_kit.money import Budget, guard_files

    guard_files.write_budget(Budget(2.5, 10, "CNY"))
    model = LaunchModel("practice")
    assert (model.price_per_hour, model.currency) == (2.5, "CNY")


# --- Memory, Doctor, Money ------------------------------------------------------------------


def test_the_memory_panel_says_what_the_plan_says() -> None:
    panel: Any = panels.memory("T4")
    panel.which.value, panel.length.number.value = "8B", 4096
    made = memory.plan("8B", memory.device_named("T4"), max_model_len=4096)
    assert made.verdict == memory.DOES_NOT_FIT and "does not fit" in panel.bar.value
    assert f"{made.total_gib:.2f}" in panel.terms.value
    panel.form.value = "awq"
    assert panel.model.bar().verdict.startswith(("fits", "tight"))
    assert "RTX 4090" in panel.model.smallest_cards()
    panel.beside.value = True
    assert "other server" in dict(panel.model.bar().parts)
    for gpu in panel.model.gpus():
        panel.gpu.value = gpu
        assert panel.model.problem is None, gpu


def test_the_doctor_examines_the_server_that_runs(server: Any) -> None:
    panel: Any = panels.doctor(server.url)
    press(panel, panel.examine)
    assert panel.model.examination.ok and "Nothing needs fixing." in panel.findings.value
    panel.url.value = "http://127.0.0.1:9"
    press(panel, panel.examine)
    assert not panel.model.examination.ok and "need fixing" in panel.findings.value


def test_money_needs_a_price_and_the_guard_is_a_real_one(own_state: Path) -> None:
    panel: Any = panels.money()
    assert "say what the machine costs" in panel.numbers.value
    press(panel, panel.on)
    assert "the price per hour must be more than 0" in panel.status.value
    panel.price.value, panel.limit.value, panel.currency.value = 1.0, 1e6, "CNY"
    assert "CNY" in panel.numbers.value and "minutes" in panel.numbers.value
    press(panel, panel.on)
    try:
        assert panel.model.is_on and "The guard is on" in panel.guard.value
        assert not panel.off.disabled
    finally:
        press(panel, panel.off)
    assert not panel.model.is_on and "nothing watches the bill" in panel.guard.value


def test_each_step_has_its_cost_and_the_rest_of_the_time_too(
    own_state: Path, rank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rented machine is paid for whatever it does: most of it is waiting."""
    steps = Steps()
    monkeypatch.setattr("rerank_kit.panels.logic.work.STEPS", steps)
    monkeypatch.setattr("rerank_kit.panels.logic.spending.STEPS", steps)
    panel: Any = panels.money()
    assert panel.steps.value == ""
    press(rank, rank.rank)
    press(rank, rank.rank)
    assert ">ranking<" in panel.steps.value and ">2<" in panel.steps.value
    assert [one.cost for one in panel.model.steps()] == [None]
    panel.price.value = 3600.0
    ranking, rest = panel.model.steps()
    assert ranking.cost == pytest.approx(ranking.seconds) and ranking.seconds > 0
    assert (rest.name, rest.times) == (BESIDES, 0)
    assert ranking.cost + rest.cost == pytest.approx(panel.model.spent(), rel=0.01)
    press(panel, panel.on)  # the guard's own work is no step
    assert [one.name for one in panel.model.steps()] == ["ranking", BESIDES]


def test_a_ready_server_tells_what_it_does(server: Any, rank: Any) -> None:
    panel: Any = panels.launch("practice")
    panel.model.live_wanted = False  # this test does the looking
    panel.model.look_live()
    press(rank, rank.rank)
    panel.model.look_live()
    shown = panel.live.value
    assert "What it does now" in shown and "KV cache in use" in shown
    assert f">{panel.model.live.pairs_done:,} pairs<" in shown
    assert panel.model.live.seconds_per_pair is not None
    panel.language = "zh"
    assert "KV 缓存占用" in panel.live.value and "每对用时" in panel.live.value
    panel.model.record = None
    panel.model.look_live()
    assert panel.live.value == ""


# --- the page -------------------------------------------------------------------------------


def test_the_page_has_a_tab_for_every_panel(own_state: Path) -> None:
    page: Any = panels.app()
    assert list(page.tabs) == [
        "Rank", "Search", "Judge", "Launch", "Memory", "Tune", "Doctor", "Money"
    ]  # fmt: skip
    assert "none runs" in page.server_line.value
    for name, tab in page.tabs.items():
        tab.click()
        assert page.panels[name].widget in page.place.children and tab.button_style == "info"
        assert page.panels[name].model.problem is None


def test_two_pages_share_no_state(own_state: Path) -> None:
    one, two = panels.app(), panels.app()
    one.panel("Rank").query.value = "only mine"  # type: ignore[attr-defined]
    assert two.panel("Rank").query.value != "only mine"  # type: ignore[attr-defined]
