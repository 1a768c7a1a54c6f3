"""Read a server's log and say what went wrong, in which family of failures, and what to change.

    diagnose(Path("server.log")) -> Diagnosis

The messages themselves are data, in failures/; this file knows how logs are made: what a
traceback is, which line of it is the message, that wrappers are never the cause, that the first
cause wins, and that a later start which came up makes an earlier failure history.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rerank_kit.server.causes import CALM, CAUSES, REQUESTS, SOFT, Hit, explains, first_cause
from rerank_kit.server.logs import LogLine, LogReader
from rerank_kit.server.newest_first import Backwards, oldest_first
from rerank_kit.server.remedies import facts_in, fill_fixes, fill_text
from rerank_kit.server.signatures import Signature, catalogue
from rerank_kit.server.stages import Progress, Traces, exception_name, out_of_memory_family
from rerank_kit.server.verdict import Diagnosis, Evidence, counted_backwards, evidence_of

__all__ = ["Diagnosis", "Evidence", "diagnose"]

#: Exit statuses of a process that the system killed: SIGKILL, as Python and as a shell say it.
KILLED = (-9, 137)
#: Not known, as wanted, SIGTERM and SIGINT: no sign of a failure.
ENDED_BY_REQUEST = (None, 0, -15, 143, -2, 130)


def diagnose(lines: Iterable[str] | Path, exit_status: int | None = None) -> Diagnosis:
    """Say what a log shows, in one pass and constant memory.

    lines: the log's lines, or the file. exit_status: of the server, where it is known: a
    process that the system killed leaves no line of its own. Either order of lines will do.
    Raises FileInputError when the file cannot be read.

    >>> print(diagnose(["OSError: [Errno 28] No space left on device"]).family)
    disk_full
    """
    reading = _Reading()
    source = oldest_first(lines)
    reader = LogReader(source, catalogue().words)
    for line in reader:
        if reading.take(line):
            reader.matters()
        reader.read_all_until = reading.read_until
        if reading.look_again:
            reading.look_again = False
            reader.look_again()
    found = reading.conclude(exit_status)
    return counted_backwards(found, source.lines) if isinstance(source, Backwards) else found


_STATUS = re.compile(
    r"\"(?:GET|POST|PUT|DELETE|HEAD|OPTIONS) (?P<path>/\S*) HTTP/[\d.]+\" (?P<status>\d{3})"
)
#: How vLLM's processes sign their lines.
_OWN_PROCESSES = ("(APIServer", "(EngineCore", "(VllmWorker", "(Worker_")
#: The server's words when its engine is gone, and the first that anybody says of it: an engine
#: that fails by itself says so before. So it looks when the system kills it (SIGKILL).
_SILENT_END = "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
#: starlette's exception when a client does not wait for its answer.
_HUNG_UP = "ClientDisconnect"
#: What the server says every 10 seconds while its engine starts (v1/engine/utils.py), and how
#: often before that is no start any more.
_WAITING, _MANY_WAITS = "Waiting for ", 18
#: Lines between an exception's first line and the end of its message.
_MESSAGE_LINES = 15


class _Reading:
    """What is known after the lines read so far."""

    def __init__(self) -> None:
        self.look_again = False
        self._known = catalogue()
        self._traces = Traces()
        self._progress = Progress()
        self._hits: list[Hit] = []
        self._claimed: set[int] = set()
        self._earlier: Diagnosis | None = None
        self._unfamiliar: LogLine | None = None
        self._wrapper: LogLine | None = None
        self._trouble: LogLine | None = None
        self._message_of: tuple[str, int] = ("", -99)
        self._last_line: LogLine | None = None
        self._assertion = ""
        self._unfamiliar_since: float = math.inf
        self._engine_spoke = False
        self._waiting: LogLine | None = None
        self._waits = 0

    @property
    def read_until(self) -> int:
        return self._traces.read_until

    def take(self, line: LogLine) -> bool:
        """Take in one message; True when it says something."""
        self._last_line = line
        self._engine_spoke = self._engine_spoke or line.stream.startswith("(EngineCore")
        text = line.text.strip()
        if self._known.harmless.found_in(text):
            if _HUNG_UP in text:  # a client went away: what announced it was no failure either
                self._traces.take(line, is_exception=True)
                self._wrapper = None if self._progress.is_ready else self._wrapper
            return False
        if line.stream.startswith(_OWN_PROCESSES):
            self._progress.looks_like_vllm = True
        before = (self._progress.starts, self._progress.is_ready)
        if self._progress.take(text, is_logged=bool(line.level or line.stream)):
            self._on_progress(before)
            return True
        if self._progress.is_stopping and not self._is_sick():
            return False  # what breaks while somebody ends the server is not a failure
        if line.level in ("DEBUG", "TRACE"):
            if _WAITING in text and "core engine proc" in text:
                self._waiting, self._waits = line, self._waits + 1
            return False  # attempts that the program itself does not mind
        exception = exception_name(text, after_frames=self._traces.expects_end(line))
        if self._traces.take(line, is_exception=exception is not None):
            # A frame or its source line is a place, not a message; but a bare assertion has no
            # other message than the line that made it.
            self._assertion = text if text.startswith("assert ") else self._assertion
            return False
        if text == "AssertionError" and self._assertion:
            text = f"AssertionError: {self._assertion}"
        status = _STATUS.search(text)
        if status and int(status["status"]) < 400:
            return self._answered(status["path"])
        if self._known.wrappers.found_in(text):
            if line.level not in ("INFO", "DEBUG"):
                self._wrapper = self._wrapper or line
            self._message_of = ("", -99)
            return self._match(line, text, is_exception=False, in_wrapper=True)
        hit = self._match(line, text, is_exception=exception is not None)
        if exception:
            self._message_of = (line.stream, line.number)
        if hit:
            return True
        if line.level == "WARNING":
            return False  # the program goes on without it
        if exception and not exception.endswith("Warning"):
            self._unfamiliar_since = min(self._unfamiliar_since, line.number)
            if self._unfamiliar is None or self._traces.chained(line.stream):
                self._unfamiliar = line
        elif line.level == "ERROR":
            self._trouble = self._trouble or line
        return False

    def _match(
        self, line: LogLine, text: str, *, is_exception: bool, in_wrapper: bool = False
    ) -> bool:
        stream, start = self._message_of
        continues = line.number - start <= _MESSAGE_LINES and line.stream == stream
        continues = continues and line.level not in CALM
        for place in self._known.index.found_in(text):
            signature = self._known.signatures[place]
            if in_wrapper and not signature.in_wrapper:
                continue
            found = signature.regex.search(text)
            if not found:
                continue
            if signature.needs and not self._progress.said(signature.needs):
                continue
            if signature.frames and not self._traces.passed(signature.frames, line.stream):
                continue
            if signature.raised_in and not self._traces.raised_in(signature.raised_in, line.stream):
                continue
            told = (is_exception or continues) and line.level != "WARNING"
            causal = told or line.level == "ERROR" or signature.bare
            causal = causal and line.level != "WARNING"  # the program goes on
            if line.level in ("INFO", "DEBUG") and signature.role == "cause" and not causal:
                continue  # what the program says it did about something
            if not causal and line.level is None and found.start() > 40:
                continue  # somebody's sentence that happens to hold the words
            if place in self._claimed and signature.role not in REQUESTS:
                if not causal or not self._only_mentioned(signature):
                    self._place_again(signature, line)
                    return True
            if not self._hits or signature.role in REQUESTS:
                self.look_again = signature.role in REQUESTS and place not in self._claimed
            self._claimed.add(place)
            chained = is_exception and self._traces.chained(line.stream)
            self._add(signature, line, found, causal=causal, chained=chained)
            return True
        return False

    def _only_mentioned(self, signature: Signature) -> bool:
        """Whether a message is known only from places where no cause stands; forgets those."""
        places = [hit for hit in self._hits if hit.signature is signature]
        if any(hit.causal for hit in places):
            return False
        self._hits = [hit for hit in self._hits if hit.signature is not signature]
        return True

    def _place_again(self, signature: Signature, line: LogLine) -> None:
        """Running out of memory is often said twice: before its traceback, and at its end, where
        the traceback has told when it happened."""
        hit = next((hit for hit in self._hits if hit.signature is signature), None)
        if hit is None or hit.placed or signature.family != "gpu_oom":
            return
        if functions := self._traces.functions(line.stream):
            hit.placed = True
            hit.family, hit.sure = out_of_memory_family(
                functions, self._progress, hit.numbers, line.text
            )
            hit.stage = self._known.families[hit.family].stage or hit.stage

    def _is_sick(self) -> bool:
        """Whether something was wrong before this line."""
        causes = (hit for hit in self._hits if hit.causal and hit.signature.role in CAUSES)
        return bool(self._wrapper or self._unfamiliar or self._trouble or any(causes))

    def _add(
        self, signature: Signature, line: LogLine, found: re.Match, *, causal: bool, chained: bool
    ) -> None:
        numbers, words = facts_in(found)
        family, sure = signature.family, True
        frames = self._traces.functions(line.stream)
        if family == "gpu_oom":
            family, sure = out_of_memory_family(frames, self._progress, numbers, line.text)
        stage = signature.stage or self._known.families[family].stage or self._progress.stage
        settings = dict(self._progress.settings)
        hit = Hit(signature, family, line, causal, numbers, words, stage, chained, sure)
        hit.placed, hit.settings = bool(frames), settings
        if len(self._hits) < 200:
            self._hits.append(hit)

    def _on_progress(self, before: tuple[int, bool]) -> None:
        if self._progress.starts > before[0]:
            verdict = self._verdict()
            if verdict is not None:
                self._earlier = verdict
            self._forget(lambda hit: True)
            self._unfamiliar = self._wrapper = self._trouble = None
            self._unfamiliar_since = math.inf
            self._traces, self._engine_spoke = Traces(), False
            self._waiting, self._waits = None, 0
        elif self._progress.is_ready and not before[1]:
            # It came up: whatever was said on the way was overcome, except what makes a
            # running server answer wrongly.
            self._forget(lambda hit: hit.signature.role not in SOFT)
            self._unfamiliar = self._wrapper = self._trouble = self._earlier = None
            self._unfamiliar_since = math.inf
        elif self._progress.stage in ("load", "warmup"):
            # What a download stumbled over was overcome.
            self._forget(lambda hit: self._known.families[hit.family].stage == "download")

    def _forget(self, which) -> None:
        if any(which(hit) for hit in self._hits):
            self._hits = [hit for hit in self._hits if not which(hit)]
            self._claimed = set()
            self.look_again = True

    def _answered(self, path: str) -> bool:
        """A request was answered: earlier refusals on the same path were overcome."""
        kept = [
            hit
            for hit in self._hits
            if not (hit.signature.role in REQUESTS and hit.words.get("path") == path)
        ]
        if len(kept) == len(self._hits):
            return False
        self._hits = kept
        return True

    def _verdict(self, exit_status: int | None = None) -> Diagnosis | None:
        """What this start failed of, or None when nothing says that it failed."""
        signs = (self._wrapper, self._unfamiliar, self._trouble, self._traces.unfinished)
        failed = any(signs) or exit_status not in ENDED_BY_REQUEST
        hit = first_cause(self._hits, ready=self._progress.is_ready, failed=failed)
        unfamiliar = self._unfamiliar
        if hit is not None and (unfamiliar is None or explains(hit, unfamiliar)):
            found = self._diagnosis_of(hit)
            if unfamiliar is None or hit.signature.role != "status":
                return found
            return replace(found, evidence=(evidence_of(unfamiliar), *found.evidence))
        if unfamiliar is not None:
            return self._other(unfamiliar)
        return None

    def conclude(self, exit_status: int | None) -> Diagnosis:
        """The diagnosis at the end of the log."""
        verdict = self._verdict(exit_status)
        killed = exit_status in KILLED
        if verdict is not None and not (killed and verdict.confidence == "unknown"):
            return verdict
        if killed:
            return self._killed(exit_status)
        if not self._progress.is_ready and self._earlier is not None:
            return self._earlier
        sick = self._wrapper
        if sick is not None and self._engine_spoke and _SILENT_END in sick.text:
            return self._plain("host_oom", "likely", (evidence_of(sick),))
        if not self._progress.is_ready:
            sick = sick or self._trouble or self._traces.unfinished
        failed = exit_status not in ENDED_BY_REQUEST
        if sick is None and self._waiting and not self._progress.is_ready:
            if self._waits >= _MANY_WAITS:
                return self._plain("stalled", "likely", (evidence_of(self._waiting),))
        if sick is None and not failed and (self._progress.looks_like_vllm or exit_status == 0):
            sure = "certain" if self._progress.is_ready and not self._trouble else "likely"
            return self._plain("none", sure, ())
        if sick is None and exit_status is not None and failed:
            return self._plain("unknown", "unknown", (Evidence(0, f"exit status {exit_status}"),))
        return self._plain("unknown", "unknown", (evidence_of(sick),) if sick else ())

    def _diagnosis_of(self, hit: Hit) -> Diagnosis:
        signature, family = hit.signature, self._known.families[hit.family]
        confidence = signature.confidence
        if not hit.causal and confidence == "certain" and signature.role not in ("latent",):
            confidence = "likely"
        if not hit.sure or self._unfamiliar_since < hit.line.number and not hit.chained:
            # The stage is a guess, or something else went wrong before.
            confidence = "likely"
        facts = {**hit.settings, **hit.words, **hit.numbers}
        return Diagnosis(
            family=family.id,
            confidence=confidence,
            stage=hit.stage,
            title=fill_text(signature.title or family.title, facts),
            cause=fill_text(signature.cause or family.cause, facts),
            evidence=(evidence_of(hit.line),),
            fixes=fill_fixes(signature.fixes or family.fixes, facts),
            numbers=hit.numbers,
        )

    def _other(self, line: LogLine) -> Diagnosis:
        sure = "likely" if self._wrapper or not self._progress.is_ready else "unknown"
        return self._plain("other", sure, (evidence_of(line),))

    def _killed(self, exit_status: int | None) -> Diagnosis:
        evidence = [Evidence(0, f"exit status {exit_status}: the process was killed (SIGKILL)")]
        if self._last_line is not None:
            evidence.append(evidence_of(self._last_line))
        return self._plain("host_oom", "likely", tuple(evidence))

    def _plain(self, family: str, confidence: str, evidence: tuple[Evidence, ...]) -> Diagnosis:
        about = self._known.families[family]
        stage = about.stage or self._progress.stage
        fixes = fill_fixes(about.fixes, dict(self._progress.settings))
        return Diagnosis(family, confidence, stage, about.title, about.cause, evidence, fixes)
