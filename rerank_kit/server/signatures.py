"""The failure families and the messages they are known by, read from the files in failures/."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files


@dataclass(frozen=True)
class FixTemplate:
    """kind: setting, command or advice. change may hold {numbers} of the log; `otherwise` is
    the change when the log does not have them (without it the fix is left out)."""

    kind: str
    change: str
    why: str
    otherwise: str = ""


@dataclass(frozen=True)
class Family:
    """What is said of a failure family when its signature does not say it better."""

    id: str
    stage: str
    title: str
    cause: str
    fixes: tuple[FixTemplate, ...]


@dataclass(frozen=True)
class Signature:
    """One message that one program writes; failures/00_families.toml explains the fields."""

    family: str
    regex: re.Pattern[str]
    hint: str
    role: str
    confidence: str
    bare: bool
    in_wrapper: bool
    stage: str
    title: str
    cause: str
    fixes: tuple[FixTemplate, ...]
    needs: re.Pattern[str] | None
    frames: re.Pattern[str] | None
    raised_in: re.Pattern[str] | None
    source: str


GRAM_CHARS = 4


@lru_cache(maxsize=4)
def _grams(text: str) -> frozenset[str]:
    return frozenset([text[i : i + GRAM_CHARS] for i in range(len(text) - GRAM_CHARS + 1)])


class Index:
    """Which of many plain texts a message holds, without looking for each of them.

    Every text is filed under its rarest four letters; only those whose four letters are in the
    message are looked for.
    """

    def __init__(self, hints: list[str]) -> None:
        self._hints = hints
        counts = Counter(gram for hint in hints for gram in _grams(hint))
        self._short = [place for place, hint in enumerate(hints) if len(hint) < GRAM_CHARS]
        self._filed: dict[str, list[int]] = {}
        for place, hint in enumerate(hints):
            if len(hint) >= GRAM_CHARS:
                rarest = min(sorted(_grams(hint)), key=counts.__getitem__)
                self._filed.setdefault(rarest, []).append(place)

    def found_in(self, text: str) -> list[int]:
        """The places of the texts that the message holds, in their order."""
        found = [
            place
            for gram in _grams(text).intersection(self._filed)
            for place in self._filed[gram]
            if self._hints[place] in text
        ]
        found += [place for place in self._short if self._hints[place] in text]
        return sorted(found)


class Wordings:
    """Several wordings of which any one may be found; each is looked for by its plain text."""

    def __init__(self, patterns: list[str]) -> None:
        self.hints = [_longest_literal(pattern) for pattern in patterns]
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._index = Index(self.hints)

    def found_in(self, text: str) -> bool:
        return any(self._patterns[i].search(text) for i in self._index.found_in(text))


#: Pieces of words that most messages of failures hold, and those of a log's own structure.
_TELLING = (
    "rror", "ERROR", "xcept", "ailed", "nable", "annot", "nvalid", "nsupport", " not ", "CUDA",
    "memory", "requir", "must be", "Traceback", 'File "', "HTTP/", "version", "args: ", "config: ",
    "startup complete", "eight", "oading", "asks", "took", "[rank", "does", "Timeout", "imed out",
    "onnect", "enied", "Kill", "kill", "dtype", "uantiz", "driver", "exceed", "divisible", "exit",
    "Init", "Captur", "KV cache", "hash", "GPU", "token", "kernel", "compil", "sock", "No ", "no ",
)  # fmt: skip


@dataclass(frozen=True)
class Catalogue:
    families: dict[str, Family]
    signatures: tuple[Signature, ...]
    index: Index  # of the signatures' hints
    wrappers: Wordings
    harmless: Wordings
    words: tuple[str, ...]  # every line that says something holds at least one of these


def _read() -> dict:
    """All files as one: tables of the same name are joined, in the order of the files' names."""
    data: dict = {"families": {}, "signatures": []}
    folder = files("rerank_kit.server").joinpath("failures")
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".toml"):
            part = tomllib.loads(file.read_text(encoding="utf-8"))
            data["families"].update(part.pop("families", {}))
            data["signatures"] += part.pop("signatures", [])
            data.update(part)
    return data


@cache
def catalogue() -> Catalogue:
    """The files in failures/, read and compiled once."""
    data = _read()
    families = {
        name: Family(name, f["stage"], f["title"], f["cause"], _fixes(f))
        for name, f in data["families"].items()
    }
    signatures = tuple(_signature(e, regex) for e in data["signatures"] for regex in e["regex"])
    wrappers, harmless = Wordings(data["wrappers"]), Wordings(data["harmless"])
    hints = {signature.hint for signature in signatures} | set(wrappers.hints)
    uncovered = {hint for hint in hints if not any(word in hint for word in _TELLING)}
    index = Index([signature.hint for signature in signatures])
    words = _TELLING + tuple(sorted(uncovered))
    return Catalogue(families, signatures, index, wrappers, harmless, words)


#: A wording with less plain text than this, or a gap and less than that, may be met by chance.
SHORT_CHARS, PLAIN_CHARS = 12, 16


def _signature(entry: dict, regex: str) -> Signature:
    hint = _longest_literal(regex)
    loose = len(hint) < PLAIN_CHARS and ".*" in regex or len(hint) < SHORT_CHARS
    return Signature(
        family=entry["family"],
        regex=re.compile(regex),
        hint=hint,
        role=entry.get("role", "cause"),
        confidence="likely" if loose else entry.get("confidence", "certain"),
        bare=entry.get("bare", False),
        in_wrapper=entry.get("in_wrapper", False),
        stage=entry.get("stage", ""),
        title=entry.get("title", ""),
        cause=entry.get("cause", ""),
        fixes=_fixes(entry),
        needs=re.compile(entry["needs"]) if "needs" in entry else None,
        frames=re.compile(entry["frames"]) if "frames" in entry else None,
        raised_in=re.compile(entry["raised_in"]) if "raised_in" in entry else None,
        source=entry["source"],
    )


def _fixes(entry: dict) -> tuple[FixTemplate, ...]:
    return tuple(FixTemplate(**fix) for fix in entry.get("fixes", ()))


def _longest_literal(regex: str) -> str:
    """The longest plain text that every match contains: quicker to look for than the regex.

    >>> _longest_literal(r"^Unknown dtype: '?(?P<dtype>\\w+)"), _longest_literal("ab|cd")
    ('Unknown dtype: ', '')
    """
    runs, depth, in_set, position = [""], 0, False, 0
    while position < len(regex):
        char = regex[position]
        plain = char.isalnum() or char in " _'\"`,:;/<>=@!#%&~-"
        if char == "\\":
            position += 1
            char = regex[position]
            plain = not char.isalnum()
        elif in_set:
            in_set = char != "]"
            plain = False
        elif char == "[":
            in_set = True
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and depth == 0:
            return ""
        if char in "?*{" and not plain:
            runs[-1] = runs[-1][:-1]  # what it repeats may be absent
        if plain and depth == 0 and not in_set:
            runs[-1] += char
        else:
            runs.append("")
        position += 1
    return max(runs, key=len)
