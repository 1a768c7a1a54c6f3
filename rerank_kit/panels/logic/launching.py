"""The Launch panel without its widgets: a server's life, and the cure when it fails."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from rerank_kit import machine, registry
from rerank_kit.errors import LaunchError, LaunchStopped, RerankKitError
from rerank_kit.money.meter import SECONDS_PER_HOUR, money
from rerank_kit.panels.logic.choice import LaunchChoice
from rerank_kit.panels.logic.servers import note_for_the_page
from rerank_kit.panels.logic.spending import known_price
from rerank_kit.panels.logic.work import Model
from rerank_kit.registry import ServerRecord
from rerank_kit.server import Server, ladder, live
from rerank_kit.server.lifecycle import launch
from rerank_kit.server.live import LiveView
from rerank_kit.server.recovery import changed
from rerank_kit.server.remedies import Fix
from rerank_kit.server.server import stop_record
from rerank_kit.server.settings import RESERVED_FLAGS
from rerank_kit.server.startup import Progress, StartupReader, log_tail
from rerank_kit.server.verdict import Diagnosis

LOG_LINES = 15
#: Changes that no button makes: the kit sets the template itself, and code from a hub is run by
#: a person who has read it.
_FOR_A_PERSON = ("--chat-template", "--trust-remote-code")
#: A view is brought up to date at most so often while a server starts.
_UPDATE_SECONDS = 0.5


class LaunchModel(Model, LaunchChoice):
    """A choice and what became of it. server: the one this
    panel started or attached to; record: whatever server of ours runs or starts here."""

    def __init__(self, profile: str = "auto", *, shared: bool = False) -> None:
        Model.__init__(self)
        LaunchChoice.__init__(self, profile)
        #: A server of a page that many people look at must outlive the page that started it.
        self.shared = shared
        self.server: Server | None = None
        self.record: ServerRecord | None = None
        self.progress: Progress | None = None
        self.diagnosis: Diagnosis | None = None
        self.failed_log = ""
        self.said = ""
        self.may_force = False
        self.price_per_hour, self.currency = known_price()
        self.live: LiveView | None = None
        #: A view that nobody sees switches it off: a look costs the server a little.
        self.live_wanted = True
        self._updated_at = 0.0
        self._noted = ""

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

    def watch_live(self, every_seconds: float = 2.0) -> None:
        """Look at the ready server's own numbers now and then, for as long as the process lives:
        what `rerank-kit status --watch` shows."""
        def run() -> None:
            while True:
                time.sleep(every_seconds)
                if self.live_wanted and self.state == "ready" and not self.busy:
                    self.look_live()

        threading.Thread(target=run, daemon=True).start()

    def look_live(self) -> None:
        """One look at the server's own numbers; none where it does not tell them."""
        record, before = self.record, self.live
        found: LiveView | None = None
        if record is not None:
            with contextlib.suppress(RerankKitError):  # it ends, or it is no vLLM
                same = before if before is not None and before.url == record.url else None
                found = live.look(record.url, same)
        self.live = found
        self.changed()

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
                note_for_the_page(self.record)
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
        self.may_force = report.left_running
        if self.may_force:
            self.said += " To end it all the same, press Stop it for everybody."
        if report.survivors:
            raise LaunchError(f"The server did not end: {report.details}")
        if not self.may_force:
            self.server = self.record = self.progress = None


def _can_apply(fix: Fix) -> bool:
    flag = fix.change.split("=", 1)[0].split(" ", 1)[0]
    if fix.kind in ("model", "without"):
        return True
    if fix.kind != "setting" or flag in RESERVED_FLAGS or flag in _FOR_A_PERSON:
        return False
    return flag.startswith("-") and "/path/" not in fix.change  # a path to fill in
