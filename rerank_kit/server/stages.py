"""Where in a server's life a line of its log stands: stage, settings, traceback, memory at hand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rerank_kit.server.logs import LogLine

#: (stage that begins, what says so). Later stages only follow earlier ones within one start.
_MILESTONES = (
    ("start", re.compile(r"API server version|^Initializing an LLM engine \(v")),
    (
        "load",
        re.compile(
            r"Starting to load model|Loading (?:safetensors|pt) checkpoint shards"
            r"|Loading model weights(?! took)|Using model weights format"
        ),
    ),
    (
        "warmup",
        re.compile(
            r"Model loading took|Loading model weights took|Loading weights took"
            r"|Memory profiling (?:takes|results)|Available KV cache memory|# (?:GPU|CUDA) blocks"
            r"|GPU KV cache size|Capturing |Graph capturing finished|Using cache directory"
            r"|Compiling a graph for|init engine \(profile"
        ),
    ),
    ("serving", re.compile(r"Application startup complete")),
)
_STOP = re.compile(
    r"^\[shutdown\]|^Shutting down$|shutdown triggered|^Finished server process"
    r"|^\W*(?:Server )?[Rr]eceived (?:signal )?(?:SIGTERM|SIGINT|15|2)\b|^SIGTERM received\W*$"
)
_ORDER = {"": 0, "download": 1, "load": 2, "warmup": 3, "serving": 4}
_VLLM = re.compile(
    r"vLLM (?!V|I|B)|vllm\.|/vllm/(?!vllm)|Uvicorn running|Started server process|Engine 0"
    r"|Automatically detected platform"
)
_SETTING = re.compile(
    r"['\s(,](?P<name>model|device_config|quantization|kv_cache_dtype|dtype|max_model_len|max_seq_len|"
    r"gpu_memory_utilization|kv_cache_memory_bytes|tensor_parallel_size|max_num_batched_tokens|max_num_seqs|port)"
    r"'?\s*[=:]\s*'?(?P<value>[\w./:-]+)"
)
#: Lines that say what a message means further down; the one that comes before a start's own.
_FIRST = "detected platform"
_NOTED = ("Supported tasks", "supports multiple tasks", "thrown while requesting", _FIRST)
_MEASURED = re.compile(
    r"(?:^|\s)(?P<what>Model loading took|Loading model weights took|Available KV cache memory:)"
    r" (?P<gib>[\d.]+) Gi?B"
)


@dataclass
class Progress:
    """How far the newest start of the server has come."""

    stage: str = "download"
    starts: int = 0
    is_ready: bool = False
    is_stopping: bool = False  # somebody ended a running server
    has_answered: bool = False  # requests, in what there is of the log
    looks_like_vllm: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)

    def take(self, text: str, *, is_logged: bool = True) -> bool:
        """True when the line is a milestone. is_logged: a logger wrote it, not a person."""
        if is_logged and not self.looks_like_vllm and _VLLM.search(text):
            self.looks_like_vllm = True
        if "=" in text or "'" in text:
            self._read_settings(text)
        if any(word in text for word in _NOTED):
            self._note(text)
        if 'HTTP/1.1" 200' in text or "throughput: " in text or "Processed prompts:" in text:
            self.has_answered = True
        if self.is_ready and _STOP.search(text):
            self.is_stopping = True
        for stage, sign in _MILESTONES:
            if sign.search(text):
                return self._reach(stage)
        return False

    def said(self, pattern: re.Pattern[str]) -> bool:
        """Whether something noted in this start matches."""
        return any(pattern.search(note) for note in (*self._notes, str(self.settings)))

    def _reach(self, stage: str) -> bool:
        self.looks_like_vllm, self.is_stopping = True, False
        if stage == "start":
            self.starts += 1
            self.stage, self.is_ready, self.has_answered = "download", False, False
            self.settings, self._notes = {}, [note for note in self._notes if _FIRST in note]
            return True
        if stage == "serving":
            self.is_ready = True
        if _ORDER[stage] > _ORDER[self.stage]:
            self.stage = stage
        return True

    def _note(self, text: str) -> None:
        if len(self._notes) < 20:
            self._notes.append(text[:300])

    def _read_settings(self, text: str) -> None:
        if "args: " not in text and "config: " not in text:
            return
        for found in _SETTING.finditer(text):
            if found["value"] != "None":
                self.settings.setdefault(found["name"], found["value"])


#: The name of an exception that ends a traceback, then its message.
_EXCEPTION = re.compile(
    r"^(?:E +|\*\*|`)?"
    r"(?P<name>(?:[A-Za-z_][\w<>]*\.)*_?[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Timeout"
    r"|Failure|OutOfResources|NotFound|Expired|Unavailable|Failed|Warning)|Exception)(?::\s|:?$)"
)
#: Any other name, where nothing but an exception can stand: after the frames of a traceback.
_UNUSUAL_EXCEPTION = re.compile(
    r"^(?P<name>[a-z_]\w*(?:\.[\w<>]+)*\.\w+|[A-Z]\w*[a-z]\w*)(?::\s\S|$)"
)


def exception_name(text: str, *, after_frames: bool = False) -> str | None:
    """The exception that a line names as the end of a traceback.

    >>> exception_name("ValueError: no"), exception_name("re.error: bad", after_frames=True)
    ('ValueError', 're.error')
    """
    found = _EXCEPTION.match(text) or (_UNUSUAL_EXCEPTION.match(text) if after_frames else None)
    return found["name"] if found else None


_FRAME = re.compile(r"^\s*File [\"“](?P<file>[^\"”]*)[\"”], line \d+(?:, in (?P<function>\S+))?")
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)")
_CHAIN = re.compile(r"During handling of the above exception|direct cause of the following")
MAX_STREAMS = 64
#: A traceback's next place, or its end, comes within so many lines.
TRACE_LINES = 40
SHORT_CHARS = 60


def _margin(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


@dataclass
class _Trace:
    active: bool = False
    functions: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    last: str = ""  # the innermost place so far: its file and function
    code_next: bool = False
    chained: bool = False
    indented: bool = True  # some forums and collectors drop the indentation
    margin: int = 0  # of the whole traceback, where another program quotes it
    head: LogLine | None = None


class Traces:
    """The tracebacks that the processes are writing at the same time."""

    def __init__(self) -> None:
        self._open: dict[str, _Trace] = {}
        self.read_until = 0  # up to this line anything may be the end of a traceback

    def expects_end(self, line: LogLine) -> bool:
        """Whether a traceback of this process goes on, and this line is none of its places."""
        trace = self._open.get(line.stream)
        if trace is None or not trace.active or _margin(line.text) > trace.margin:
            return False
        return bool(trace.functions) and (trace.indented or not trace.code_next)

    @property
    def unfinished(self) -> LogLine | None:
        """The head of a traceback whose end the log does not hold."""
        return next((trace.head for trace in self._open.values() if trace.active), None)

    def take(self, line: LogLine, *, is_exception: bool) -> bool:
        """True when the line is part of a traceback's list of places."""
        text = line.text
        trace = self._open.get(line.stream)
        if "Traceback" in text and _TRACEBACK.search(text):
            chained = trace.chained if trace else False
            self._set(line.stream, _Trace(True, chained=chained, head=line, margin=_margin(text)))
            self.read_until = line.number + TRACE_LINES
            return text.index("Traceback") < SHORT_CHARS  # else a message stands before it
        if _CHAIN.search(text):
            self._set(line.stream, _Trace(chained=True))
            return True
        frame = _FRAME.match(text)
        if frame:
            if trace is None:
                trace = self._set(line.stream, _Trace(head=line, margin=max(0, _margin(text) - 2)))
            trace.active = trace.code_next = True
            trace.indented = _margin(text) > trace.margin
            self.read_until = line.number + TRACE_LINES
            if frame["function"]:
                trace.functions.add(frame["function"])
            trace.files.add(frame["file"])
            trace.last = f"{frame['file']} {frame['function'] or ''}"
            return True
        if trace is None or not trace.active:
            return False
        if is_exception and _margin(text) <= trace.margin + 3:
            trace.active = trace.code_next = False
            return False
        if trace.code_next or text.startswith("  ") or set(text.strip()) <= set("^~ "):
            trace.code_next = False
            return True
        return False

    def functions(self, stream: str) -> set[str]:
        """The functions named in the newest traceback of a process."""
        trace = self._open.get(stream)
        return trace.functions if trace else set()

    def passed(self, pattern: re.Pattern[str], stream: str) -> bool:
        """Whether the newest traceback of a process goes through a matching file or function."""
        trace = self._open.get(stream)
        if trace is None:
            return False
        return any(pattern.search(place) for place in (*trace.functions, *trace.files))

    def raised_in(self, pattern: re.Pattern[str], stream: str) -> bool:
        """Whether the innermost place of the newest traceback of a process matches."""
        trace = self._open.get(stream)
        return bool(trace and trace.last and pattern.search(trace.last))

    def chained(self, stream: str) -> bool:
        """Whether the newest traceback says that it follows from the one before it."""
        trace = self._open.get(stream)
        return bool(trace and trace.chained)

    def _set(self, stream: str, trace: _Trace) -> _Trace:
        if len(self._open) >= MAX_STREAMS:
            self._open.clear()
        self._open[stream] = trace
        return trace


_WARMUP_FRAMES = re.compile(
    r"profile_\w+|determine_available_memory|determine_num_available_blocks|_dummy\w*run"
    r"|_?capture\w*|\w*warm_?up\w*|_?initialize_kv_caches?|_?allocate\w*|initialize_cache"
    r"|_init_cache|autotune\w*"
)
_LOAD_FRAMES = re.compile(
    r"load_model|initialize_model|load_weights|_load_\w+|process_weights\w*|make_layers"
    r"|create_weights|init_model|get_model|weight_loader|_initialize_model"
)
_RUN_FRAMES = re.compile(
    r"run_busy_loop|run_engine_loop|engine_step|run_engine|step_async|_process_engine_step"
    r"|step_with_batch_queue|run_batch|event_loop_\w+|generate|_run_engine"
)
#: A calculation, of the trial run or of a request.
_FORWARD_FRAMES = re.compile(r"forward|execute_model|step|apply|_run_engine|generate|encode|score")
#: A share of the card in other hands that this server cannot have taken itself.
OTHERS_SHARE = 0.25


def out_of_memory_family(
    functions: set[str], progress: Progress, numbers: dict[str, float], text: str
) -> tuple[str, bool]:
    """Which of the out-of-memory families a CUDA out-of-memory message belongs to, and whether
    that is sure.

    functions: those of its traceback. numbers: total, free, ours and allocated GiB as torch
    reports them, where the message has them. text: the message.
    """
    if held_by_others(numbers) > OTHERS_SHARE * numbers.get("total_gib", 1e9):
        return "gpu_busy", True
    if any(_WARMUP_FRAMES.fullmatch(f) for f in functions) or "warming up" in text:
        return "gpu_oom_warmup", True
    if any(_LOAD_FRAMES.fullmatch(f) for f in functions):
        return "gpu_oom_load", True
    running = progress.is_ready or progress.has_answered
    if running or any(_RUN_FRAMES.fullmatch(f) for f in functions):
        return "gpu_oom_runtime", True
    if progress.stage in ("load", "warmup"):
        return f"gpu_oom_{progress.stage}", True
    if any(_FORWARD_FRAMES.fullmatch(f) for f in functions) or "private pools" in text:
        return "gpu_oom_warmup", False
    return "gpu_oom_load", False


def held_by_others(numbers: dict[str, float]) -> float:
    """GiB of the card that neither is free nor belongs to the process that ran out; 0 when the
    message does not say, or says something impossible (inside containers it sometimes does)."""
    total, free = numbers.get("total_gib"), numbers.get("free_gib")
    ours = max(numbers.get("ours_gib", 0.0), numbers.get("allocated_gib", 0.0))
    if total is None or free is None or ours <= 0 or ours > total:
        return 0.0
    numbers["others_gib"] = max(0.0, round(total - free - ours, 2))
    return numbers["others_gib"]
