"""Turn a family's fix templates into changes with values, computed from the log's own numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rerank_kit.server.signatures import FixTemplate

#: GiB to leave outside the request, for what vLLM does not budget (SERVING.md section 6).
SPARE_GIB = 0.5
#: vLLM's default number of tokens in a step on cards under 70 GiB, and of texts.
DEFAULT_BATCHED_TOKENS, DEFAULT_SEQUENCES = 2048, 256
#: A desktop or a driver's own context; more than this is somebody's program.
OTHERS_WORTH_A_WORD_GIB = 0.5
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Fix:
    """kind: setting (a vLLM flag), command (to run) or advice. why: what it does, plainly."""

    kind: str
    change: str
    why: str


def fill_fixes(templates: Iterable[FixTemplate], facts: Mapping[str, object]) -> tuple[Fix, ...]:
    """The fixes with the log's numbers in them; one that lacks its numbers is left out."""
    known = {**_derived(facts), **facts}
    fixes = []
    for template in templates:
        change = _fill(template.change, known)
        if change is None and template.otherwise:
            change = _fill(template.otherwise, known)
        if change is not None:
            fixes.append(Fix(template.kind, change, fill_text(template.why, known)))
    return tuple(fixes)


def fill_text(text: str, facts: Mapping[str, object]) -> str:
    """The text with the facts in it; a sentence that lacks one of its facts is left out.

    >>> fill_text("It broke. It needed {needed} GiB.", {})
    'It broke.'
    """
    known = {**_derived(facts), **facts}
    sentences = re.split(r"(?<=[.!?]) ", text)
    filled = [_fill(sentence, known) for sentence in sentences]
    return " ".join(sentence for sentence in filled if sentence)


def _fill(text: str, facts: Mapping[str, object]) -> str | None:
    if any(name not in facts for name in _PLACE.findall(text)):
        return None
    return _PLACE.sub(lambda found: _show(facts[found[1]]), text)


def _show(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


def _derived(facts: Mapping[str, object]) -> dict[str, object]:
    """Values for the flags, each computed from what the log says."""
    values: dict[str, object] = {}
    free, total = _number(facts, "free_gib"), _number(facts, "total_gib")
    if free and total and free > SPARE_GIB + 0.1 * total:
        values["utilization_that_fits"] = math.floor((free - SPARE_GIB) / total * 100) / 100
    length = _number(facts, "fits_tokens")
    if not length:
        needed, has = _number(facts, "needed_gib"), _number(facts, "available_gib")
        wanted = _number(facts, "wanted_tokens")
        if needed and has and wanted:
            length = wanted * has / needed
    if length and length >= 64:
        step = 256 if length >= 1024 else 16
        values["length_that_fits"] = float(int(length) // step * step)
    used = _number(facts, "gpu_memory_utilization") or 0.9
    by_bytes = _number(facts, "kv_cache_memory_bytes")
    needed_gib = _number(facts, "needed_gib")
    if by_bytes and needed_gib:  # the message rounds to hundredths: one more is enough
        values["needed_kv_bytes"] = float(math.ceil((needed_gib + 0.01) * 1024) * 2**20)
    if used < 0.93 and not by_bytes:
        values["more_utilization"] = 0.95 if used >= 0.9 else round(min(0.92, used + 0.1), 2)
    if used > 0.5:
        values["less_utilization"] = round(used - (0.1 if used > 0.85 else 0.05), 2)
    tokens = _number(facts, "max_num_batched_tokens") or DEFAULT_BATCHED_TOKENS
    values["half_batched_tokens"] = float(max(256, int(tokens) // 2))
    if not by_bytes:
        values["fewer_batched_tokens"] = values["half_batched_tokens"]
    sequences = _number(facts, "sequences") or _number(facts, "max_num_seqs") or DEFAULT_SEQUENCES
    values["half_sequences"] = float(max(8, int(sequences) // 2))
    port = _number(facts, "port")
    values["next_port"] = float(int(port) + 1) if port else 8001.0
    others = _number(facts, "others_gib") or 0.0
    if others >= OTHERS_WORTH_A_WORD_GIB:
        values["others_hold_gib"] = others
    gpus, heads = _number(facts, "gpus"), _number(facts, "heads")
    if gpus:
        values["parallel_that_fits"] = gpus
    elif heads:
        wanted_ranks = int(_number(facts, "ranks") or 2)
        fits = [n for n in range(1, wanted_ranks + 1) if int(heads) % n == 0]
        values["parallel_that_fits"] = float(fits[-1])
    return values


def _number(facts: Mapping[str, object], name: str) -> float | None:
    value = facts.get(name)
    if value is None:
        return None
    try:
        return float(str(value))
    except ValueError:
        return None


def facts_in(found: re.Match[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers and the words that a message holds; a `NAME_size` group becomes NAME_gib.

    >>> facts_in(re.match("(?P<free_size>[^ ]+ GiB) on (?P<name>.+)", "1.5 GiB on gpu"))
    ({'free_gib': 1.5}, {'name': 'gpu'})
    """
    numbers: dict[str, float] = {}
    words: dict[str, str] = {}
    for name, value in found.groupdict().items():
        if value is None:
            continue
        if name.endswith("_size"):
            numbers[name.removesuffix("_size") + "_gib"] = gibibytes(value)
            continue
        try:
            numbers[name] = float(value.replace(",", ""))
        except ValueError:
            words[name] = value
    return numbers, words


_UNITS = {"b": 1 / 2**30, "k": 1 / 2**20, "m": 1 / 1024, "g": 1.0, "t": 1024.0}


def gibibytes(text: str) -> float:
    """A size as programs write it, in GiB.

    >>> gibibytes("512.00 MiB"), gibibytes("0 bytes")
    (0.5, 0.0)
    """
    number, _, unit = text.strip().partition(" ")
    return round(float(number) * _UNITS.get(unit[:1].lower(), 1.0), 4)
