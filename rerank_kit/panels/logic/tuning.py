"""The Tune panel without its widgets: what to search, a search that can be stopped and goes on."""

from __future__ import annotations

import atexit
import contextlib
import time

from rerank_kit import registry
from rerank_kit.errors import InputError
from rerank_kit.money.meter import money
from rerank_kit.panels.logic.choice import LaunchChoice
from rerank_kit.panels.logic.servers import note_for_the_page
from rerank_kit.panels.logic.spending import known_price
from rerank_kit.panels.logic.work import Model
from rerank_kit.registry import ServerRecord
from rerank_kit.search.labelled import SHIPPED
from rerank_kit.server.startup import Progress
from rerank_kit.tuning.knobs import Knob, knobs_for, takes_numbers, with_values
from rerank_kit.tuning.result import Tuned, tune
from rerank_kit.tuning.search import Guard, Search, Step
from rerank_kit.tuning.texts import cut_for_model
from rerank_kit.tuning.workload import Workload, shipped_workload, typed_workload

OWN_TEXTS = "my own texts"
SOURCES = (*SHIPPED, OWN_TEXTS)
#: The defaults of `rerank-kit tune`.
REQUESTS_AT_ONCE, SECONDS, MOST_STARTS, DOCUMENTS, ORDER_PERCENT = "1, 2, 4", 10.0, 20, 32, 99.0
#: A view is brought up to date at most so often while something is measured.
_UPDATE_SECONDS = 0.5
#: A kernel that is shut down waits so long for the search to end its server.
_GOOD_BYE_SECONDS = 20.0


class _Stopped(Exception):
    """Somebody pressed Stop: it ends the search from inside, and its server with it."""


class TuneModel(Model, LaunchChoice):
    """The fields are the options of `rerank-kit tune`. left_out: names of settings that are not
    to be tried; values: what was typed for a setting instead of its own values. found: the end
    of a search; search: the one that runs or ran last, with the steps so far."""

    def __init__(self, profile: str = "auto") -> None:
        Model.__init__(self)
        LaunchChoice.__init__(self, profile)
        self.left_out: set[str] = set()
        self.values: dict[str, str] = {}
        self.dtypes = ""
        self.quantisations = ""
        self.order_kept_percent = ORDER_PERCENT
        self.memory_gib = 0.0
        self.seconds = SECONDS
        self.most_starts = MOST_STARTS
        self.requests_at_once = REQUESTS_AT_ONCE
        self.source = SOURCES[0]
        self.own_queries = ""
        self.own_documents = ""
        self.pair_tokens = ""
        self.documents_per_request = DOCUMENTS
        self.again = False
        self.price_per_hour, self.currency = known_price()
        self.search: Search | None = None
        self.found: Tuned | None = None
        self.progress: Progress | None = None
        self.said = ""
        self._stop_wanted = False
        self._updated_at, self._starts_seen = 0.0, 0

    def offered(self) -> tuple[Knob, ...]:
        """Every setting that may be tried with this profile. Raises InputError, SetupError."""
        return knobs_for(self.settings())

    def knobs(self) -> tuple[Knob, ...]:
        """Those that are chosen, with the values that were typed; what no knob names stays as the
        profile has it. Raises InputError."""
        chosen = [knob for knob in self.offered() if knob.name not in self.left_out]
        more = knobs_for(
            self.settings(), dtypes=tuple(_words(self.dtypes)),
            quantisations=tuple(_words(self.quantisations)),
        )[len(self.offered()):]  # fmt: skip
        if not chosen and not more:
            raise InputError("No setting is chosen.", hint="tick at least one")
        return (*(self._with_values(knob) for knob in chosen), *more)

    def workload(self) -> Workload:
        """What is sent to each server. Raises InputError."""
        each = self.documents_per_request
        if self.source == OWN_TEXTS:
            made = typed_workload(
                self.own_queries, self.own_documents, documents_per_request=each
            )
        else:
            made = shipped_workload(self.source, documents_per_request=each)
        return cut_for_model(made, self.pair_tokens, self.settings().model)

    def prepared(self) -> Search:
        """The search that Start runs. Raises InputError, SetupError."""
        everything = not self.left_out
        return Search(
            self.settings(), self.knobs(), self.workload(),
            Guard(self.order_kept_percent / 100, self.memory_gib or None),
            concurrencies=_counts(self.requests_at_once), seconds=self.seconds,
            most_starts=self.most_starts, say=lambda _: self.changed(),
            on_progress=self._on_progress, on_change=self._on_change, again=self.again,
            start_name="vLLM's defaults" if everything else "vLLM's values for these",
        )  # fmt: skip

    def start(self) -> bool:
        """Search in the background. What was measured before with the same texts and seconds is
        not measured again. False when it is busy."""
        if self.busy:
            return False
        self._stop_wanted = False
        return self.begin("searching for settings", self._search)

    def stop(self) -> None:
        """End the search and its server; what was measured is kept."""
        if self.busy:
            self._stop_wanted = True
            self.busy = "stopping the search and its server"
            self.changed()

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self.search.steps) if self.search else ()

    def best_so_far(self) -> Step | None:
        """The last setting that stayed; the fastest, unless the guard refused a faster one."""
        return next(
            (one for one in reversed(self.steps) if one.verdict in ("start", "kept")), None
        )

    def beside(self) -> ServerRecord | None:
        """A server of ours that runs and takes part of the machine, none that the search made."""
        return None if self.busy else next(iter(registry.living()), None)

    def cost(self) -> str:
        """Money for 1,000 queries with the best settings; "" without a price or a result."""
        if self.found is None or self.found.cost_per_thousand_queries is None:
            return ""
        return money(self.found.cost_per_thousand_queries, self.currency)

    def _with_values(self, knob: Knob) -> Knob:
        typed = _words(self.values.get(knob.name, ""))
        return with_values(knob, typed) if typed and takes_numbers(knob) else knob

    def _search(self) -> None:
        self.said = ""
        self.found, self.progress, self.search, self._starts_seen = None, None, None, 0
        search = self.prepared()
        self.search = search
        atexit.register(self._good_bye)  # a page that is closed must not leave a server behind
        try:
            self.found = tune(search, self.price_per_hour or None, self.currency)
        except _Stopped:
            self.said = "Stopped. What was measured is kept: Start goes on from there."
        finally:
            atexit.unregister(self._good_bye)
            search.trying = ""
            self._settings = None  # a GPU has its memory back

    def _good_bye(self) -> None:
        self._stop_wanted = True
        with contextlib.suppress(TimeoutError):
            self.join(_GOOD_BYE_SECONDS)

    def _on_progress(self, progress: Progress) -> None:
        if self.progress is None:
            for record in registry.living():
                if record.state == "starting":
                    note_for_the_page(record)
        new_stage = self.progress is None or self.progress.stage != progress.stage
        self.progress = progress
        self._on_change(new_stage)

    def _on_change(self, at_once: bool = False) -> None:
        if self._stop_wanted:
            raise _Stopped
        now = time.monotonic()
        new_start = self.search is not None and self.search.starts != self._starts_seen
        if new_start and self.search is not None:
            self._starts_seen, self.progress = self.search.starts, None
        if at_once or new_start or now - self._updated_at >= _UPDATE_SECONDS:
            self._updated_at = now
            self.changed()


def _words(text: str) -> list[str]:
    """ "4096, 8192" -> the two words."""
    return text.replace(",", " ").replace("，", " ").split()


def _counts(text: str) -> tuple[int, ...]:
    """Requests at once. Raises InputError."""
    words = _words(text)
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise InputError(
            f"{text!r} is no list of whole numbers.", hint="requests at once, e.g. 1, 2, 4"
        )
    return tuple(int(word) for word in words)
