"""The settings that decide a reranker's speed: what each does, its values, when it cannot matter.

A knob is tried in the order of this file: first what costs nothing, then what may move scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rerank_kit.errors import InputError
from rerank_kit.server.settings import ServerSettings

FLAG, SWITCH, ENVIRONMENT = "flag", "switch", "environment"
ON, OFF = "on", "off"
#: From here on the hardware computes all the time: no setting around the model can help any more.
BUSY_PERCENT = 75.0


@dataclass(frozen=True)
class Seen:
    """What the best trial so far says, for the knobs' own judgement."""

    tokens_per_pair: float
    cached_share: float
    percent_of_limit: float | None
    pairs_at_once: int
    chosen: Mapping[str, str]


@dataclass(frozen=True)
class Knob:
    """name: the flag or the variable. values: in the order of trying; the search goes on to the
    next one only while it gets faster. what: what the setting does, for the explanation.
    useless: why it cannot matter now, "" when it can."""

    name: str
    kind: str
    default: str
    values: tuple[str, ...]
    what: str
    useless: Callable[[Seen, str], str] = lambda seen, value: ""
    moves_scores: bool = False

    def said(self, value: str) -> str:
        """The setting as one types it."""
        if self.kind == ENVIRONMENT:
            return f"{self.name}={value}"
        return f"{self.name} {value}" if self.kind == FLAG else f"{self.name} {value}".strip()


def _finer_blocks(seen: Seen, value: str) -> str:
    """Shared prompt beginnings are found in whole blocks: what a smaller block could still find."""
    now = int(seen.chosen.get("--block-size", "128"))
    most = now - int(value)  # at best one block less one
    computed = seen.tokens_per_pair * (1 - seen.cached_share)
    if seen.cached_share > 0 and most / max(computed, 1.0) < 0.03:
        return f"at most {most} of {computed:.0f} computed tokens a pair could be saved"
    return ""


def _more_sequences(seen: Seen, value: str) -> str:
    step = int(seen.chosen.get("--max-num-batched-tokens", "2048"))
    computed = max(1.0, seen.tokens_per_pair * (1 - seen.cached_share))
    now = int(seen.chosen.get("--max-num-seqs", "128"))
    fits = step / computed
    if fits <= now or seen.pairs_at_once <= now:
        return f"a step holds {min(fits, seen.pairs_at_once):.0f} pairs, and {now} are allowed"
    return ""


def _larger_steps(seen: Seen, value: str) -> str:
    now = int(seen.chosen.get("--max-num-batched-tokens", "2048"))
    waiting = seen.pairs_at_once * seen.tokens_per_pair * (1 - seen.cached_share)
    if waiting <= now:
        return f"all that is under way ({waiting:.0f} tokens) fits one step of {now} already"
    return ""


def _around_the_model(seen: Seen, value: str) -> str:
    if seen.percent_of_limit is not None and seen.percent_of_limit >= BUSY_PERCENT:
        return f"the hardware already computes at {seen.percent_of_limit:.0f} % of its limit"
    return ""


_TOKENS = "tokens computed in one step: larger matrices, fewer steps"
_SEQUENCES = "documents in one step"
_RENDERERS = "threads that build and tokenise the prompts"
_SERVERS = "processes that take requests, in front of the one engine"

CPU_KNOBS: tuple[Knob, ...] = (
    Knob("VLLM_CPU_NUM_OF_RESERVED_CPU", ENVIRONMENT, "1", ("0",),
         "cores that vLLM keeps away from the model"),
    Knob("--block-size", FLAG, "128", ("32",),  # vLLM 0.32, CPU_ATTN: multiples of 32
         "tokens of a cache block: a shared beginning is reused in whole blocks only",
         _finer_blocks),
    Knob("--max-num-batched-tokens", FLAG, "2048", ("4096", "8192"), _TOKENS, _larger_steps),
    Knob("--max-num-seqs", FLAG, "128", ("256",), _SEQUENCES, _more_sequences),
    Knob("--distributed-executor-backend", FLAG, "mp", ("uni",),
         "whether the model has a process of its own, with its threads bound to cores",
         _around_the_model),
    Knob("VLLM_CPU_OMP_THREADS_BIND", ENVIRONMENT, "auto", ("nobind",),
         "whether a thread stays on its core", _around_the_model),
    Knob("VLLM_ENABLE_V1_MULTIPROCESSING", ENVIRONMENT, "1", ("0",),
         "whether the engine has a process of its own", _around_the_model),
    Knob("--renderer-num-workers", FLAG, "1", ("2", "4"), _RENDERERS, _around_the_model),
    Knob("--api-server-count", FLAG, "1", ("2",), _SERVERS, _around_the_model),
    Knob("--enforce-eager", SWITCH, OFF, (ON,), "run the model as it is, without compiling it",
         _around_the_model),
)  # fmt: skip
GPU_KNOBS: tuple[Knob, ...] = (
    Knob("--renderer-num-workers", FLAG, "1", ("4", "8"), _RENDERERS, _around_the_model),
    Knob("--max-num-batched-tokens", FLAG, "2048", ("4096", "8192", "16384"), _TOKENS,
         _larger_steps),
    Knob("--max-num-seqs", FLAG, "256", ("512", "1024"), _SEQUENCES, _more_sequences),
    Knob("-cc.cudagraph_mode=none", SWITCH, OFF, (ON,),
         "no recorded GPU programs: a reranker's steps are larger than the recorded ones"),
    Knob("--api-server-count", FLAG, "1", ("2", "4"), _SERVERS, _around_the_model),
    Knob("--async-scheduling", SWITCH, OFF, (ON,), "prepare a step while the last one runs",
         _around_the_model),
)  # fmt: skip


def knobs_for(
    settings: ServerSettings,
    *,
    only: tuple[str, ...] = (),
    dtypes: tuple[str, ...] = (),
    quantisations: tuple[str, ...] = (),
) -> tuple[Knob, ...]:
    """The knobs of this profile. only: names, to try no others. dtypes, quantisations: also try
    these; they move scores, so the quality guard decides. Raises InputError."""
    known = GPU_KNOBS if settings.profile == "gpu" else CPU_KNOBS
    if settings.profile == "practice":  # it always runs so: compiling takes longer than it saves
        known = tuple(knob for knob in known if knob.name != "--enforce-eager")
    found = list(known)
    only = tuple(f"--{name}" if name == name.lower() else name for name in only)
    for name in only:
        if name not in {knob.name for knob in known}:
            names = ", ".join(knob.name for knob in known)
            raise InputError(f"{name} is no setting that is tuned here.", hint=f"one of {names}")
    if only:
        found = [knob for knob in known if knob.name in only]
    if dtypes:
        found.append(
            Knob("--dtype", FLAG, settings.dtype, tuple(d for d in dtypes if d != settings.dtype),
                 "number format of weights and products", moves_scores=True)
        )  # fmt: skip
    found += [
        Knob("--quantization", FLAG, "none", (form,), "weights in fewer bits", moves_scores=True)
        for form in quantisations
    ]
    return tuple(found)


def with_values(knob: Knob, values: Sequence[str]) -> Knob:
    """The knob with values of one's own, tried in this order. Raises InputError where one is no
    whole number above zero and the knob's own are.

    >>> with_values(CPU_KNOBS[1], ["32", "64"]).values
    ('32', '64')
    """
    if takes_numbers(knob):
        for value in values:
            if not value.isdecimal() or int(value) < 1:
                raise InputError(
                    f"{value!r} is no value of {knob.name}.",
                    hint=f"whole numbers, e.g. {', '.join(knob.values)}",
                )
    return replace(knob, values=tuple(value for value in values if value != knob.default))


def takes_numbers(knob: Knob) -> bool:
    """Whether a knob's values are numbers of one's own choice, not one of a few words."""
    return knob.kind == FLAG and all(value.isdecimal() for value in knob.values)


def vllm_defaults(settings: ServerSettings, knobs: tuple[Knob, ...]) -> dict[str, str]:
    """What vLLM does when nobody says anything, for each knob."""
    return {knob.name: knob.default for knob in knobs}


def kit_choices(settings: ServerSettings, knobs: tuple[Knob, ...]) -> dict[str, str]:
    """What the profile of this kit sets, for each knob."""
    words = list(settings.flags)
    found = vllm_defaults(settings, knobs)
    for knob in knobs:
        if knob.name == "--max-num-batched-tokens":
            found[knob.name] = str(settings.max_num_batched_tokens)
        elif knob.kind == ENVIRONMENT and knob.name in settings.environment:
            found[knob.name] = settings.environment[knob.name]
        elif knob.name in words:
            place = words.index(knob.name)
            found[knob.name] = words[place + 1] if knob.kind == FLAG else ON
    return found


def with_choices(
    settings: ServerSettings, knobs: tuple[Knob, ...], choices: Mapping[str, str]
) -> ServerSettings:
    """The profile's settings with each knob at its chosen value; what no knob names stays."""
    flags, environment = list(settings.flags), dict(settings.environment)
    dtype, batched = settings.dtype, settings.max_num_batched_tokens
    for knob in knobs:
        value = choices.get(knob.name, knob.default)
        if knob.kind == ENVIRONMENT:
            environment.pop(knob.name, None)
            if value != knob.default:
                environment[knob.name] = value
        elif knob.name == "--max-num-batched-tokens":
            batched = int(value)
        elif knob.name == "--dtype":
            dtype = value
        else:
            _drop(flags, knob)
            if value not in (knob.default, OFF):
                flags += [knob.name] if knob.kind == SWITCH else [knob.name, value]
    if environment.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0" and "--api-server-count" in flags:
        del environment["VLLM_ENABLE_V1_MULTIPROCESSING"]  # several front ends need it
    return replace(
        settings, flags=tuple(flags), environment=environment, dtype=dtype,
        max_num_batched_tokens=batched,
    )  # fmt: skip


def _drop(flags: list[str], knob: Knob) -> None:
    if knob.name in flags:
        place = flags.index(knob.name)
        del flags[place : place + (2 if knob.kind == FLAG else 1)]
