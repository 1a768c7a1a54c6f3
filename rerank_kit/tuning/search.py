"""The search: from vLLM's defaults upwards, one setting at a time, and why each one stays or goes.

A start of a server costs minutes on a big model, so none is made that cannot pay: a setting that
cannot matter for this load is skipped with its reason, a row of values ends at the first that is
not faster, and the search ends when the hardware is busy. What was measured is written down after
every start; an interrupted search goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rerank_kit import machine, memory, registry
from rerank_kit.errors import InputError, LaunchError, SetupError
from rerank_kit.server.settings import ServerSettings
from rerank_kit.tuning.agreement import Agreement, agreement
from rerank_kit.tuning.knobs import Knob, Seen, vllm_defaults, with_choices
from rerank_kit.tuning.limit import Limit, measure_limit
from rerank_kit.tuning.trial import Trial, run_trial
from rerank_kit.tuning.workload import Workload

#: A setting must bring this much to stay: less is what two runs of the same thing differ by.
LEAST_GAIN = 0.03
#: Near enough to the measured limit to stop.
ENOUGH_PERCENT = 95.0


@dataclass(frozen=True)
class Guard:
    """order_kept: share of the reference's order that a setting must keep. memory_gib: what the
    server may use; None: what the machine has."""

    order_kept: float = 0.99
    memory_gib: float | None = None


@dataclass(frozen=True)
class Step:
    """One setting that was looked at. verdict: start, kept, slower, refused, failed, skipped."""

    setting: str
    verdict: str
    sentence: str
    trial: Trial | None = None
    agreement: Agreement | None = None

    def as_dict(self) -> dict[str, Any]:
        data = {"setting": self.setting, "verdict": self.verdict, "sentence": self.sentence}
        if self.trial is None:
            return data
        shown = {key: value for key, value in asdict(self.trial).items() if key != "scores"}
        kept = self.agreement.as_dict() if self.agreement else None
        return data | {"measured": shown, "agreement": kept}


@dataclass
class Search:
    """base: the profile's settings; knobs say what may change, and begin at vLLM's own values;
    what no knob names stays as the profile has it. say: told each step's sentence. on_change:
    called before each trial and often during it; what it raises ends the search, and nothing
    stays running. trying: the setting that is tried now."""

    base: ServerSettings
    knobs: tuple[Knob, ...]
    workload: Workload
    guard: Guard = field(default_factory=Guard)
    concurrencies: tuple[int, ...] = (1, 2, 4)
    seconds: float = 10.0
    most_starts: int = 20
    say: Callable[[str], object] = print
    on_progress: Callable[[Any], None] | None = None
    on_change: Callable[[], object] = lambda: None
    again: bool = False
    steps: list[Step] = field(default_factory=list)
    limit: Limit | None = None
    start_name: str = "vLLM's defaults"
    starts: int = 0
    remembered: int = 0
    trying: str = ""
    _trials: dict[str, Trial] = field(default_factory=dict, repr=False)
    _reference: list[list[float]] = field(default_factory=list, repr=False)

    def run(self) -> Trial:
        """The best trial. Raises LaunchError when not even the defaults start."""
        self.steps.clear()
        self._trials = {} if self.again else self._read()
        self.trying = self.start_name
        self.on_change()
        self.limit = self._limit()
        defaults = vllm_defaults(self.base, self.knobs)
        first = self._trial(defaults)
        if first.failed:
            raise LaunchError(f"The server does not start with vLLM's defaults: {first.failed}")
        self._reference = first.scores
        best = self._note(
            self.start_name, "start",
            f"{self.start_name}: {_speed(first)}{_of_limit(first)}.", first,
        )  # fmt: skip
        for knob in self.knobs:
            if best.percent_of_limit is not None and best.percent_of_limit >= ENOUGH_PERCENT:
                self.say(f"That is {best.percent_of_limit:.0f} % of the limit: nothing to gain.")
                break
            best = self._climb(knob, best)
        self.trying = ""
        return self._with_client(best)

    def _climb(self, knob: Knob, best: Trial) -> Trial:
        """Try a knob's values while they help."""
        for value in knob.values:
            name = knob.said(value)
            reason = self._skip(knob, value, best)
            if reason:
                self._note(name, "skipped", f"{name} was not tried: {reason}.")
                break
            self.trying = name
            trial = self._trial(best.choices | {knob.name: value})
            verdict, sentence, same = self._judge(name, knob, trial, best)
            self._note(name, verdict, sentence, trial, same)
            if verdict == "kept":
                best = trial
            elif verdict == "slower":
                break
        return best

    def _judge(
        self, name: str, knob: Knob, trial: Trial, best: Trial
    ) -> tuple[str, str, Agreement | None]:
        if trial.failed:
            return "failed", f"{name} does not start here: {trial.failed.rstrip('.')}.", None
        same = agreement(self._reference, trial.scores)
        gain = trial.pairs_per_second / best.pairs_per_second - 1
        change = f"{_speed(best)} -> {_speed(trial)}"
        if same.order_kept < self.guard.order_kept:
            return "refused", f"{name} would rank otherwise: {same}.", same
        allowed = self.guard.memory_gib
        if allowed is not None and (trial.memory_gib or 0.0) > allowed:
            needs = f"{trial.memory_gib:.1f} GiB, and {allowed:.1f} are allowed"
            return "refused", f"{name} needs {needs}.", same
        if gain < LEAST_GAIN:
            return "slower", f"{name} goes: {change}, not worth it ({knob.what}).", same
        why = f"{knob.what}{_what_changed(best, trial)}"
        return "kept", f"{name} stays: {change} ({100 * gain:+.0f} %). Why: {why}.", same

    def _skip(self, knob: Knob, value: str, best: Trial) -> str:
        """Why a value need not be tried; "" when it must."""
        seen = Seen(
            best.tokens_per_pair, best.cached_share, best.percent_of_limit,
            best.concurrency * self.workload.documents_per_request, best.choices,
        )  # fmt: skip
        reason = knob.useless(seen, value)
        if reason:
            return reason
        if self._key(best.choices | {knob.name: value}) in self._trials:
            return ""
        if self.starts >= self.most_starts:
            return f"{self.most_starts} starts were allowed"
        return self._too_large(best.choices | {knob.name: value})

    def _too_large(self, choices: dict[str, str]) -> str:
        """The memory plan's word before a start is wasted."""
        settings = with_choices(self.base, self.knobs, choices)
        on_gpu = settings.profile == "gpu"
        try:
            device = memory.device_here("gpu" if on_gpu else "cpu")
            planned = memory.plan(
                settings.model, device, dtype=settings.dtype,
                max_model_len=settings.max_model_len,
                max_num_batched_tokens=settings.max_num_batched_tokens,
                eager="--enforce-eager" in settings.flags,
            )  # fmt: skip
        except (InputError, SetupError):
            return ""
        room = self.guard.memory_gib if self.guard.memory_gib is not None else device.free_gib
        if planned.peak_gib > room:
            return f"it would need {planned.peak_gib:.1f} GiB, and there are {room:.1f}"
        return ""

    def _with_client(self, best: Trial) -> Trial:
        """The requests that the client keeps under way. Every trial has measured all that are
        wanted, so this needs no start."""
        if len(best.speeds) < 2:
            return best
        speeds = {int(number): speed for number, speed in best.speeds.items()}
        top = max(speeds.values())
        chosen = min(number for number, speed in speeds.items() if speed >= top / (1 + LEAST_GAIN))
        told = ", ".join(f"{number}: {speed:.1f}" for number, speed in sorted(speeds.items()))
        self._note(
            f"{chosen} requests at once", "client",
            f"The client keeps {chosen} under way: the fewest that bring the full speed (pairs/s "
            f"by requests at once: {told}).",
        )  # fmt: skip
        return replace(best, concurrency=chosen)

    def _trial(self, choices: dict[str, str]) -> Trial:
        key = self._key(choices)
        known = self._trials.get(key)
        if known and all(str(number) in known.speeds for number in self.concurrencies):
            self.remembered += 1
            return known
        self.starts += 1
        self.on_change()
        settings = with_choices(self.base, self.knobs, choices)
        trial = run_trial(
            settings, choices, self.workload, self._limit_in(settings.dtype),
            concurrencies=self.concurrencies, seconds=self.seconds, on_progress=self.on_progress,
            on_change=self.on_change,
        )  # fmt: skip
        if not trial.failed:  # what failed may have had a passing cause: tried anew next time
            self._trials[key] = trial
            self._write()
        return trial

    def _note(
        self, setting: str, verdict: str, sentence: str, trial: Trial | None = None,
        same: Agreement | None = None,
    ) -> Trial:  # fmt: skip
        self.steps.append(Step(setting, verdict, sentence, trial, same))
        self.say(sentence)
        return trial or Trial({})

    # What survives an interruption.

    @property
    def state_path(self) -> Path:
        """One file for each model, load, machine and version: only these may be compared."""
        found = machine.installed_vllm() or ("vllm", "?")
        identity = [self.base.model, self.base.max_model_len, self.base.extra_args, self.seconds,
                    self.workload.fingerprint, found, machine.host_memory().total_gib]  # fmt: skip
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
        return registry.state_dir() / "tuning" / f"{self.base.profile}-{key}.json"

    def _key(self, choices: dict[str, str]) -> str:
        settings = with_choices(self.base, self.knobs, choices)
        return settings.fingerprint

    def _read(self) -> dict[str, Trial]:
        kept = registry.read_json_object(self.state_path)
        if "limit" in kept:
            self.limit = Limit(**kept["limit"])
        try:
            return {key: Trial(**row) for key, row in (kept.get("trials") or {}).items()}
        except TypeError:  # written by another version
            return {}

    def _write(self) -> None:
        data: dict[str, Any] = {"trials": {k: one.as_dict() for k, one in self._trials.items()}}
        if self.limit is not None:
            data["limit"] = asdict(self.limit)
        path = self.state_path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        half = path.with_suffix(".part")
        half.write_text(json.dumps(data), encoding="utf-8")
        half.replace(path)

    def _limit(self) -> Limit | None:
        if self.limit is not None and self.limit.dtype == self.base.dtype:
            return self.limit
        try:
            return measure_limit(self.base.dtype, on_gpu=self.base.profile == "gpu")
        except SetupError:
            return None

    def _limit_in(self, dtype: str) -> Limit | None:
        """The limit holds for its number format only."""
        return self.limit if self.limit is not None and self.limit.dtype == dtype else None


def _speed(trial: Trial) -> str:
    return f"{trial.pairs_per_second:.1f} pairs/s"


def _of_limit(trial: Trial) -> str:
    if trial.percent_of_limit is None:
        return ""
    return f" of {trial.tokens_per_pair:.0f} tokens, {trial.percent_of_limit:.0f} % of the limit"


def _what_changed(best: Trial, trial: Trial) -> str:
    """The measured cause behind a gain, where one shows."""
    if trial.cached_share > best.cached_share + 0.02:
        return (
            f"; {100 * trial.cached_share:.0f} % of the tokens now come from the cache "
            f"instead of {100 * best.cached_share:.0f} %"
        )
    before, after = best.percent_of_limit, trial.percent_of_limit
    if before is not None and after is not None and after > before + 1:
        return f"; the hardware computes at {after:.0f} % of its limit instead of {before:.0f} %"
    return ""
