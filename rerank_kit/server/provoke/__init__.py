"""Break a start on purpose, see what is diagnosed, mend it, see it run.

Each provocation is a real failure of a real server on whatever machine this is: with the
practice model it needs no GPU and costs nothing. The tests and scripts/provoke_failures.py
share them.

    print(provoke("cache too small"))
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rerank_kit.errors import InputError, RerankKitError
from rerank_kit.server.lifecycle import launch
from rerank_kit.server.provoke import circumstances
from rerank_kit.server.provoke.incidents import fill_the_disk, kill_a_worker, scores_and_stops
from rerank_kit.server.provoke.outcome import LeftOut, Outcome, Provocation, Seen

__all__ = ["PROVOCATIONS", "Outcome", "Provocation", "provoke"]


def provoke(name: str, *, mend: bool = True) -> Outcome:
    """Provoke one failure by name (see PROVOCATIONS); nothing is left running.

    mend: False only breaks and diagnoses, which is quicker. Raises InputError for another name.
    """
    known = {one.name: one for one in PROVOCATIONS}
    if name not in known:
        raise InputError(f"{name!r} is no known provocation.", hint=f"one of: {', '.join(known)}")
    one, seen, started, left_out = known[name], Seen(mend), time.monotonic(), ""
    running = False
    try:
        running = (one.run or (_break_and_mend if mend else _break))(one, seen)
    except LeftOut as reason:
        left_out = str(reason)
    except RerankKitError as error:  # what was to run did not
        seen.take(error)
    return Outcome(
        one.name, one.broken_by, one.expected, seen.family, seen.confidence, seen.evidence,
        tuple(seen.remedies), tuple(seen.fixes), running, round(time.monotonic() - started, 1),
        not mend, left_out,
    )  # fmt: skip


def _break(one: Provocation, seen: Seen) -> bool:
    with (one.around or circumstances.nothing)() as more:
        try:
            launch("practice", extra_args=one.flags, **more).stop(force=True)
        except RerankKitError as error:
            seen.take(error)
            return False
    return True


def _break_and_mend(one: Provocation, seen: Seen) -> bool:
    """One launch that breaks, is diagnosed, and mends itself if a setting can; else a person
    does what the diagnosis says."""
    with (one.around or circumstances.nothing)() as more:
        try:
            return scores_and_stops(
                launch("practice", extra_args=one.flags, recover=True, on_remedy=seen.mended,
                       **more)
            )  # fmt: skip
        except RerankKitError as error:
            seen.take(error)
    if not one.by_hand:
        return False
    seen.mended_by_hand(one.by_hand)
    return scores_and_stops(launch("practice"))


PROVOCATIONS: Sequence[Provocation] = (
    Provocation(
        "cache too small", "the KV cache gets one megabyte", ("kv_cache_too_small",),
        ("--kv-cache-memory-bytes", "1000000"),
    ),
    Provocation(
        "context too long", "texts of ten million tokens are promised", ("bad_argument",),
        ("--max-model-len", "9999999"),
    ),
    Provocation(
        "port taken", "a stranger binds the port a moment before vLLM", ("port_in_use",),
        around=circumstances.stranger_takes_the_port,
    ),
    Provocation(
        "quantisation not supported", "fp8 weights with 32-bit floats",
        ("quantization", "dtype_unsupported"), ("--quantization", "fp8"),
    ),
    Provocation(
        "too many parts", "split over two memory nodes of a machine with one", ("parallel_size",),
        ("--tensor-parallel-size", "2"), around=circumstances.one_device,
    ),
    Provocation(
        "main memory", "a cache of 8 GB under a limit of 6 GiB (ulimit -v)", ("host_oom",),
        ("--kv-cache-memory-bytes", "8000000000"), around=lambda: circumstances.address_space(6.0),
    ),
    Provocation(
        "container's memory", "a cache of 8 GB under a limit of 5 GiB (control group)",
        ("host_oom",), ("--kv-cache-memory-bytes", "8000000000"),
        around=lambda: circumstances.memory_cgroup(5.0),
    ),
    Provocation(
        "stuck", "a model split over two workers, and only one is started", ("stalled",),
        ("--tensor-parallel-size", "2", "--distributed-executor-backend", "uni"),
        around=circumstances.short_patience,
    ),
    Provocation(
        "worker killed", "a worker process is killed while it serves", ("host_oom",),
        ("--distributed-executor-backend", "mp"), run=kill_a_worker,
    ),
    Provocation(
        "disk full", "log and state on a disk without room", ("disk_full",), run=fill_the_disk,
    ),
    Provocation(
        "bad path", "a model folder without its weights", ("bad_model_path",),
        around=circumstances.folder_without_weights, by_hand="a folder that holds the weights",
    ),
    Provocation(
        "wrong argument", "a flag that vLLM does not have", ("bad_argument",),
        ("--no-such-flag",), by_hand="the flag was left out",
    ),
)  # fmt: skip
