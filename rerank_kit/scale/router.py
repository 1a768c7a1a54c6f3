"""vllm-router in front of several servers: one address, and a dead server is no lost request.

It forwards /v1/score to vLLM. Its rerank routes are broken for vLLM servers (0.1.17, seen here):
/v1/rerank replaces the model's name by `default`, which no server serves (404); /rerank reads the
answer as the list that SGLang gives, and vLLM's is an object (500). The kit's client uses
/v1/score and is not affected. Nor does it repeat a score request whose server died: it passes the
error on, and our client asks again (scripts/failover.py counts both). A program that does not ask
again loses the requests that were on their way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import requests

from rerank_kit import machine, registry
from rerank_kit.errors import InputError, LaunchError, SetupError
from rerank_kit.server import process_group
from rerank_kit.server.startup import log_tail

START_SECONDS = 60.0
ASK_SECONDS = 5.0
#: Seconds between two looks at each server; its own default of 60 is too long for a short lesson
#: and for a server that fails.
HEALTH_SECONDS = 2


def router_command(urls: Sequence[str], port: int, metrics_port: int) -> list[str]:
    """The words that start vllm-router on the loopback address in front of these servers."""
    if len(set(urls)) != len(urls) or not urls:
        raise InputError("A router needs servers, each named once.")
    return [
        "vllm-router",
        "--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics_port),
        "--worker-urls", *urls,
        # The same documents come back rarely, so nothing is gained by sending a query to the
        # server that saw it before (the default, cache_aware).
        "--policy", "round_robin",
        "--health-check-interval-secs", str(HEALTH_SECONDS),
        "--health-check-timeout-secs", "5",
        "--health-failure-threshold", "2", "--health-success-threshold", "1",
        # After failures a server is left alone for so long, then tried again.
        "--cb-timeout-duration-secs", "5",
    ]  # fmt: skip


def stop_recorded() -> dict[int, bool]:
    """End the routers whose program died without ending them: port -> nothing of it is left."""
    ended = {}
    for path in sorted(_records().glob("*.json")):
        found = registry.read_json_object(path)
        pid = int(found.get("pid", 0))
        gone = True
        if pid and registry.process_is(pid, float(found.get("created", 0.0))):
            gone = not process_group.end_group(pid)
            ended[int(path.stem)] = gone
        if gone:
            path.unlink(missing_ok=True)
    return ended


def _records() -> Path:
    return registry.state_dir() / "routers"


class Router:
    """vllm-router, as long as the `with` lasts. It is a child of this process; when that is
    killed, `rerank-kit stop` ends it."""

    def __init__(self, urls: Sequence[str], port: int | None = None) -> None:
        program = Path(sys.executable).with_name("vllm-router")
        found = str(program) if program.exists() else shutil.which("vllm-router")
        if found is None:
            raise SetupError("vllm-router is not installed.", hint="pip install vllm-router")
        self.port = port or machine.free_port()
        metrics_port = machine.free_port()
        while metrics_port == self.port:
            metrics_port = machine.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self.command = router_command(urls, self.port, metrics_port)
        logs = registry.state_dir() / "logs"
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log_path = logs / f"router-{self.port}.log"
        # The servers are on this machine or behind a tunnel: no proxy of the internet knows them.
        environment = {key: value for key, value in os.environ.items()
                       if not key.lower().endswith("_proxy")}  # fmt: skip
        with self.log_path.open("wb") as log:
            self._child = subprocess.Popen(
                [found, *self.command[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=environment,
            )  # fmt: skip
        process_group.adopt(self._child)
        self._session = requests.Session()
        self._session.trust_env = False
        try:
            created = psutil.Process(self._child.pid).create_time()
            _records().mkdir(exist_ok=True, mode=0o700)
            found_again = {"pid": self._child.pid, "created": created}
            registry.write_json(_records() / f"{self.port}.json", found_again)
            self._wait(len(urls))
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Router:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()

    def __repr__(self) -> str:
        return f"Router({len(self.workers())} servers)"

    def workers(self) -> dict[str, bool]:
        """The servers behind it: address -> does it count as healthy?"""
        answer: dict[str, Any] = self._session.get(
            f"{self.url}/workers", timeout=ASK_SECONDS
        ).json()
        return {one["url"]: bool(one["is_healthy"]) for one in answer["workers"]}

    def stop(self) -> bool:
        """End it; True when nothing of it is left. A second call is harmless."""
        process_group.reap_children()
        survivors: list[int] = []
        if process_group.exit_status(self._child.pid) is None:  # else its number is free again
            survivors = process_group.end_group(self._child.pid)
        if not survivors:
            (_records() / f"{self.port}.json").unlink(missing_ok=True)
        return not survivors and machine.port_is_free(self.port)

    def _wait(self, servers: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            process_group.reap_children()
            if process_group.exit_status(self._child.pid) is not None:
                break
            try:
                if sum(self.workers().values()) == servers:
                    return
            except (requests.RequestException, ValueError, KeyError):
                pass
            time.sleep(0.2)
        raise LaunchError(
            "The router did not come up with all its servers.",
            evidence=log_tail(self.log_path, 3), hint=f"read {self.log_path}",
        )  # fmt: skip
