"""`python -P run_vllm.py ...` is vLLM's own server, started some seconds sooner, and never
survived by its engine.

vLLM runs its engine in a second process, which first imports the main module of the first one
again: with `python -m vllm.entrypoints.openai.api_server` that is the whole web server, which the
engine never uses. Here the main module is this small one. And Python's garbage collector, which
walks over everything again and again while thousands of modules are imported, comes more rarely.
Measured on two idle cores, three pairs in turn: the practice server is ready in 17.2 s (median)
instead of 21.7 s.

A server that is killed (SIGKILL) cannot end its engine, which then keeps its memory for minutes:
a small process beside it does that (end_with_main.py). `vllm serve` by hand has no such watcher.

Nothing else differs: the same code runs with the same flags.
"""

from __future__ import annotations

import contextlib
import gc
import os
import runpy
import subprocess
import sys

#: Objects between two collections (Python's own number is 700).
OBJECTS_BETWEEN_COLLECTIONS = 100_000
WATCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "end_with_main.py")


def start_watcher() -> None:
    """Let the rest of this process's group end when this process does, where the group is its
    own (launch() makes it one)."""
    pid = os.getpid()
    if os.name != "posix" or os.getpgrp() != pid:
        return
    with contextlib.suppress(OSError):  # no memory for one more process: vLLM will say so itself
        subprocess.Popen([sys.executable, "-I", "-S", WATCHER, str(pid)], stdin=subprocess.DEVNULL)


gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 10, 10)  # also in the engine's process

if __name__ == "__main__":
    start_watcher()
    sys.argv[0] = "api_server.py"  # as vLLM's own messages about its flags begin
    # Not alter_sys: the engine's process shall find this module as the main one.
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
