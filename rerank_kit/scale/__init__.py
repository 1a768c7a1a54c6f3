"""Past one GPU: how many machines a load needs, how to use several GPUs, several servers behind
one address.

capacity.py does the arithmetic, parallel.py chooses how many GPUs share a model, router.py runs
vllm-router in front of servers.
"""

from __future__ import annotations

from rerank_kit.scale.capacity import Capacity, Load, Speed
from rerank_kit.scale.parallel import Arrangement, arrange
from rerank_kit.scale.router import Router, router_command

__all__ = [
    "Arrangement",
    "Capacity",
    "Load",
    "Router",
    "Speed",
    "arrange",
    "router_command",
]
