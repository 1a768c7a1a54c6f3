"""How fast is it, how near to the limit, and which settings make it faster?

    workload = shipped_workload("technical", documents_per_request=32)
    run_load("http://127.0.0.1:8000", workload, Load(concurrency=4, seconds=20))
    measure_limit("bfloat16")

workload.py says what is sent, load.py sends it and counts, limit.py measures what the hardware
could do at best.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_kit.tuning.limit import Limit, measure_limit
    from rerank_kit.tuning.load import run_load
    from rerank_kit.tuning.load_report import Load, LoadReport
    from rerank_kit.tuning.workload import Workload, read_workload, shipped_workload

_HOMES = {
    "Limit": "limit",
    "Load": "load_report",
    "LoadReport": "load_report",
    "Workload": "workload",
    "measure_limit": "limit",
    "read_workload": "workload",
    "run_load": "load",
    "shipped_workload": "workload",
}
__all__ = [
    "Limit",
    "Load",
    "LoadReport",
    "Workload",
    "measure_limit",
    "read_workload",
    "run_load",
    "shipped_workload",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rerank_kit.tuning' has no attribute {name!r}")
    return getattr(import_module(f"rerank_kit.tuning.{_HOMES[name]}"), name)
