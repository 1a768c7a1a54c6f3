"""A bad network in front of the real server: passes requests on, except where a test says what
goes wrong. Every score that comes through is the server's own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests


@dataclass(frozen=True)
class Fault:
    """Instead of passing the request on: an answer, or (status 0) an abrupt end. after: the
    server does the work first and its answer is lost on the way back."""

    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False


@dataclass
class Relay:
    """url to call; what came through; and a switch that closes the port for a while."""

    port: int
    seen: list[tuple[str, bytes]]
    close: Callable[[], None] = lambda: None
    open: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self, path: str) -> list[bytes]:
        return [body for seen_path, body in self.seen if seen_path == path]


@contextlib.contextmanager
def relay(
    target: str, fault: Callable[[str, bytes, int], Fault | None] = lambda path, body, number: None
) -> Iterator[Relay]:
    """fault(path, body, number of this request from 0) decides what goes wrong."""
    seen: list[tuple[str, bytes]] = []
    lock = threading.Lock()
    session = requests.Session()
    session.trust_env = False

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                number = len(seen)
                seen.append((self.path, body))
            wrong = fault(self.path, body, number)
            if wrong is None or wrong.after:
                answer = session.request(
                    self.command, target + self.path, data=body or None, timeout=300,
                    headers={"Content-Type": "application/json"},
                )  # fmt: skip
                status, content, headers = answer.status_code, answer.content, {}
            if wrong is not None:
                status, content, headers = wrong.status, wrong.body, wrong.headers
            if status == 0:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _pass_on

        def log_message(self, *args: object) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        allow_reuse_address = True
        request_queue_size = 128

        def handle_error(self, *args: object) -> None:
            pass  # clients that hang up

    state = {"listener": Listener(("127.0.0.1", 0), Handler)}
    made = Relay(state["listener"].server_port, seen)

    def start() -> None:
        threading.Thread(target=state["listener"].serve_forever, daemon=True).start()

    def shut() -> None:
        state["listener"].shutdown()
        state["listener"].server_close()

    def reopen() -> None:
        state["listener"] = Listener(("127.0.0.1", made.port), Handler)
        start()

    made.close, made.open = shut, reopen
    start()
    try:
        yield made
    finally:
        shut()
