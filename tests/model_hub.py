"""A stand-in for a model hub, which is a peer of ours: it speaks the HTTP of Hugging Face (as
huggingface_hub 2.4 uses it: model info, tree, HEAD and GET of files, a redirect to a store of large
files, ranges) and of ModelScope (as modelscope-hub 0.5 does), and it can be made to break."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MB = 10**6


@dataclass
class Hub:
    """Its files, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    name: str = "own/tiny-reranker"
    large: tuple[str, ...] = (".safetensors",)
    #: {file: how many bytes each answer gives before the line breaks}
    breaks: dict[str, list[int]] = field(default_factory=dict)
    #: {file: how many answers are wrong by one byte}
    spoils: dict[str, int] = field(default_factory=dict)
    #: {file: HTTP statuses answered before the file}
    fails: dict[str, list[int]] = field(default_factory=dict)
    takes_ranges: bool = True
    bytes_per_second: float = 0.0
    needs_token: str = ""
    #: Another name of this machine, as the store of large files has at Hugging Face.
    store_host: str = "localhost"
    url: str = ""
    #: (method, file, first byte asked for, Authorization)
    asked: list[tuple[str, str, int, str]] = field(default_factory=list)

    def is_large(self, path: str) -> bool:
        return path.endswith(self.large)

    def starts(self, path: str) -> list[int]:
        """From which byte each GET of a file's bytes began."""
        return [start for method, name, start, _ in self.asked if (method, name) == ("GET", path)]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without the list of checksums."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name != "SHA256SUMS"}  # fmt: skip


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = _Server(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *words: object) -> None:
        pass

    def _answer(self) -> None:
        hub, asked = self.hub, urlsplit(self.path)
        path, values = unquote(asked.path), parse_qs(asked.query)
        given = self.headers.get("Authorization", "")
        at_the_store = path.startswith("/store/")
        if hub.needs_token and not at_the_store and given != f"Bearer {hub.needs_token}":
            return self._json({"error": "Invalid credentials"}, 401)
        own = f"/api/models/{hub.name}"
        scope = f"/api/v1/models/{hub.name}"
        if path in (own, f"{own}/revision/main", f"{own}/revision/{COMMIT}"):
            return self._json(self._info())
        if path == f"{own}/tree/{COMMIT}":
            return self._json(self._tree())
        if path == f"{scope}/repo/files":
            listed = [{"Path": name, "Size": len(data), "Sha256": sha256(data), "Type": "blob"}
                      for name, data in hub.files.items()]  # fmt: skip
            return self._json({"Code": 200, "Data": {"Files": listed}, "Success": True})
        if path == f"{scope}/repo":
            return self._file(values["FilePath"][0])
        if path == scope:
            return self._json({"Code": 200, "Data": {"Name": hub.name}, "Success": True})
        if at_the_store:
            return self._file(path.removeprefix("/store/"))
        for revision in ("main", COMMIT):
            head = f"/{hub.name}/resolve/{revision}/"
            if path.startswith(head):
                return self._resolve(path.removeprefix(head))
        return self._json({"error": "Repository not found"}, 404)

    def _info(self) -> dict[str, object]:
        siblings = []
        for name, data in self.hub.files.items():
            one: dict[str, object] = {"rfilename": name, "size": len(data)}
            one["blobId"] = git_sha1(data)
            if self.hub.is_large(name):
                one["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
            siblings.append(one)
        return {"id": self.hub.name, "sha": COMMIT, "siblings": siblings, "private": False,
                "tags": [], "downloads": 0, "likes": 0}  # fmt: skip

    def _tree(self) -> list[dict[str, object]]:
        listed = []
        for name, data in self.hub.files.items():
            one: dict[str, object] = {
                "type": "file", "path": name, "size": len(data), "oid": git_sha1(data)
            }
            if self.hub.is_large(name):
                one["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
            listed.append(one)
        return listed

    def _resolve(self, name: str) -> None:
        if name not in self.hub.files:
            return self._json({"error": "Entry not found"}, 404)
        if not self.hub.is_large(name):
            return self._file(name)
        data = self.hub.files[name]
        port = urlsplit(self.hub.url).port
        self.send_response(302)
        self.send_header("Location", f"http://{self.hub.store_host}:{port}/store/{name}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{sha256(data)}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, name: str) -> None:
        hub, data = self.hub, self.hub.files[name]
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        hub.asked.append((self.command, name, start, self.headers.get("Authorization", "")))
        if hub.fails.get(name):
            return self._json({"error": "busy"}, hub.fails[name].pop(0))
        if not hub.takes_ranges:
            asked, start = "", 0
        self.send_response(206 if asked else 200)
        etag = sha256(data) if hub.is_large(name) else git_sha1(data)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.spoils.get(name):
            hub.spoils[name] -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        rest = data[start:]
        if hub.breaks.get(name):
            self._send(rest[: hub.breaks[name].pop(0)])
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self._send(rest)

    def _send(self, data: bytes) -> None:
        piece = int(self.hub.bytes_per_second / 20) or len(data) or 1
        for place in range(0, len(data), piece):
            try:
                self.wfile.write(data[place : place + piece])
            except OSError:  # the other side has gone
                self.close_connection = True
                return
            if self.hub.bytes_per_second:
                time.sleep(0.05)

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status >= 400:
            self.send_header("X-Error-Code", "RepoNotFound" if status == 404 else "Error")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
