"""What each command does, one file for each group of commands.

A group has a function `add(command)`: it registers its commands and their options. Every run
function takes the parsed options and returns a Result; heavier parts of the package are imported
where a command needs them, so that --help stays quick.
"""

from rerank_kit.commands import (
    distance,
    evaluating,
    health,
    judging,
    loading,
    machine,
    ranking,
    searching,
    servers,
    spending,
    tuning,
    weights,
)
from rerank_kit.commands.result import Result

#: In the order in which `rerank-kit --help` lists them.
GROUPS = (
    machine, servers, ranking, searching, evaluating, judging, health, loading, tuning,
    distance, weights, spending,
)  # fmt: skip

__all__ = ["GROUPS", "Result"]
