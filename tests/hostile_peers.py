"""Broken and hostile peers, as small real HTTP servers. None of them answers a rerank request
with scores of its own making: what is simulated is only what goes wrong."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HTML = b"<html><head><title>502</title></head><body>Bad gateway &lt;nginx&gt;</body></html>"


@contextlib.contextmanager
def peer(
    status: int,
    body: bytes,
    headers: dict[str, str] | None = None,
    requests_seen: list[bytes] | None = None,
) -> Iterator[str]:
    """A server that gives the same answer to everything, and keeps what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            received = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if requests_seen is not None:
                requests_seen.append(received)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def silent_peer() -> Iterator[str]:
    """Takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def dripping_peer(seconds: float) -> Iterator[str]:
    """Closes the connection in the middle of the answer, after a while."""

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
                    time.sleep(seconds)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def raw_peer(answer: bytes, *, one_byte_every_seconds: float = 0.0) -> Iterator[str]:
    """Sends these very bytes to whoever connects, whole or one by one (a slow loris), and hangs
    up. Nothing of HTTP is added."""

    def speak(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            if not one_byte_every_seconds:
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)
                return
            for byte in answer:
                connection.sendall(bytes([byte]))
                time.sleep(one_byte_every_seconds)

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=speak, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
