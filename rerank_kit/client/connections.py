"""Connections with a deadline. A socket time-out starts anew with every byte, so a peer that
sends one byte a second would hold a client for ever: here the whole answer has to be in time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from rerank_kit.errors import ResponseError

#: No answer to our requests comes near this (6 KB for 100 scores); more is another service.
MAX_ANSWER_BYTES = 256 * 1024 * 1024
_PIECE_BYTES = 65_536


class _Deadline:
    """Mixed into a connection: status line and headers must arrive within its time-out."""

    sock: socket.socket | None
    timeout: Any
    #: Kept because http.client forgets its socket as soon as the server announces a close.
    socket_of_the_answer: socket.socket | None = None

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self.timeout, int | float) or self.sock is None:
            return super().getresponse(*args, **kwargs)  # type: ignore[misc]
        self.socket_of_the_answer = self.sock
        timer = threading.Timer(self.timeout, _shut, [self.sock])
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse(*args, **kwargs)  # type: ignore[misc]
        finally:
            timer.cancel()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Http(_Deadline, HTTPConnection):
    pass


class _Https(_Deadline, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class DeadlineAdapter(HTTPAdapter):
    """requests' adapter on the connections above. It repeats nothing: Transport does that."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        pools = {"http": _HttpPool, "https": _HttpsPool}
        self.poolmanager.pool_classes_by_scheme = pools


def read_body(response: requests.Response, deadline: float) -> bytes:
    """The whole body, or requests' Timeout once time.monotonic() has passed deadline."""
    pieces: list[bytes] = []
    size = 0
    timer = threading.Timer(max(deadline - time.monotonic(), 0.001), _cut_off, [response])
    timer.daemon = True
    timer.start()
    try:
        for piece in response.iter_content(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise ResponseError(
                    f"The answer does not end: {size:,} bytes so far.",
                    hint="is this address the reranker itself?",
                )
    finally:
        timer.cancel()
    if time.monotonic() >= deadline:
        raise requests.exceptions.ReadTimeout()
    return b"".join(pieces)


def _cut_off(response: requests.Response) -> None:
    """End a body that drips: shut the socket under it, so that the reader wakes up."""
    connection = getattr(response.raw, "_connection", None)
    found = getattr(connection, "socket_of_the_answer", None)
    if found is not None:
        _shut(found)
