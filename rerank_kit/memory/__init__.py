"""Will it fit? The memory of a reranker server, term by term, before it is started; and the
same terms read from vLLM's log after the start.

    plan("4B", device_named("A10"))      one model on one card
    best_fit(device_named("T4"))         every model and form on it, the best first
    plan_beside("0.6B", "Qwen/Qwen3-Embedding-0.6B", device)   two servers on one card
    plan(...).with_measured(read_log(Path("server.log")))      predicted against measured

A reranker reads a prompt once and writes nothing. So it needs keys and values (KV cache) only
for the tokens in flight, not the rest of the card, which is what vLLM takes by default.
"""

from __future__ import annotations

from rerank_kit.memory.devices import (
    CARDS,
    Card,
    Device,
    device_from,
    device_here,
    device_named,
    device_of,
)
from rerank_kit.memory.fit import best_fit, best_of, every_plan, plan_beside
from rerank_kit.memory.log import Measured, read_log
from rerank_kit.memory.memory_plan import (
    DOES_NOT_FIT,
    FITS,
    TIGHT,
    MemoryPlan,
    Setting,
    Term,
)
from rerank_kit.memory.planning import kv_cache_bytes, plan
from rerank_kit.memory.show import aligned, table
from rerank_kit.memory.taken import main_memory_gib

__all__ = [
    "CARDS",
    "DOES_NOT_FIT",
    "FITS",
    "TIGHT",
    "Card",
    "Device",
    "Measured",
    "MemoryPlan",
    "Setting",
    "Term",
    "aligned",
    "best_fit",
    "best_of",
    "device_from",
    "device_here",
    "device_named",
    "device_of",
    "every_plan",
    "kv_cache_bytes",
    "main_memory_gib",
    "plan",
    "plan_beside",
    "read_log",
    "table",
]
