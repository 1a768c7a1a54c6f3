"""HTTP to a reranking server: one session, finite timeouts, careful retries, typed errors."""

from __future__ import annotations

import json
import os
import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from rerank_kit.errors import (
    AuthError,
    BadRequestError,
    InputError,
    RequestError,
    RequestTimeout,
    RequestTooLongError,
    ResponseError,
    ServerFault,
    UnreachableError,
    WrongServerError,
)

#: Seconds for one request: a batch of 200 long documents on a slow machine takes minutes.
DEFAULT_TIMEOUT_SECONDS = 300.0
_KNOWN_TAILS = ("/v1/rerank", "/v2/rerank", "/v1/score", "/rerank", "/score", "/v1", "/v2")


def normalise_url(address: str) -> str:
    """Any form of a server's address -> its root, without a slash at the end.

    >>> normalise_url("127.0.0.1:8000/v1/rerank")
    'http://127.0.0.1:8000'
    """
    text = address.strip() if isinstance(address, str) else ""
    one_slash = re.match(r"[a-zA-Z]+:/(?!/)", text)  # http:/host is a typing slip, not a host
    if not text or one_slash or any(character.isspace() for character in text):
        raise InputError(
            f"{address!r} is not an address.", hint="write it as http://127.0.0.1:8000"
        )
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        port_is_valid = False
        parts = urlsplit("http:")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise InputError(
            f"{address!r} is not an http address.", hint="write it as http://127.0.0.1:8000"
        )
    if parts.username or parts.password:
        raise InputError(
            "The address contains a user name or password.",
            hint="put the key into RERANK_API_KEY instead: addresses end up in logs",
        )
    path = parts.path.rstrip("/")
    for tail in _KNOWN_TAILS:
        if path.endswith(tail):
            path = path[: -len(tail)]
            break
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


class Transport:
    """Sends JSON to one server. The key is taken from RERANK_API_KEY when not given and is
    never part of a message or a repr."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retries: int = 3,
    ) -> None:
        self.root = normalise_url(url)
        self.timeout_seconds = timeout_seconds
        key = api_key if api_key is not None else os.environ.get("RERANK_API_KEY", "")
        self._session = requests.Session()
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"
        # A rerank POST is idempotent, so it may be repeated; 4xx answers never are.
        policy = Retry(
            total=retries,
            connect=retries,
            read=False,  # a read that timed out is raised as what it is
            status=retries,
            backoff_factor=0.3,
            status_forcelist=(429, 502, 503, 504),
            allowed_methods={"GET", "POST"},
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=policy))

    def __repr__(self) -> str:
        return f"Transport({self.root!r})"

    def get(self, path: str, timeout_seconds: float | None = None) -> Any:
        return self._send("GET", path, None, timeout_seconds)

    def post(self, path: str, body: dict[str, Any], timeout_seconds: float | None = None) -> Any:
        """Send body without its None values (vLLM answers 400 to an explicit null)."""
        kept = {key: value for key, value in body.items() if value is not None}
        return self._send("POST", path, kept, timeout_seconds)

    def close(self) -> None:
        self._session.close()

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_seconds: float | None
    ) -> Any:
        seconds = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        url = f"{self.root}{path}"
        try:
            response = self._session.request(
                method, url, json=body, timeout=(min(10.0, seconds), seconds), allow_redirects=False
            )
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                f"No secure connection to {self.root} could be made.",
                evidence=_reason(error),
                hint="use http:// for a server without TLS, or check its certificate",
            ) from None
        except requests.exceptions.ConnectTimeout:
            raise UnreachableError(
                f"{self.root} did not take the connection in time.",
                hint="is the machine on, is the port open, is the address right?",
            ) from None
        except requests.exceptions.Timeout:
            raise RequestTimeout(
                f"{url} gave no answer within {seconds:g} seconds.",
                hint="send fewer or shorter documents, or raise timeout_seconds",
            ) from None
        except requests.exceptions.ConnectionError as error:
            raise UnreachableError(
                f"Nothing answers at {self.root}.",
                evidence=_reason(error),
                hint="start a server (rerank-kit launch) or check the address and the tunnel",
            ) from None
        except requests.exceptions.RequestException as error:
            raise RequestError(
                f"The request to {url} failed.", evidence=_reason(error), hint="check the address"
            ) from None
        return _read(response, url)


def _reason(error: Exception) -> str:
    """The innermost cause in one line, without object addresses."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    text = str(reason if reason is not None else inner)
    # urllib3 prefixes its own view: "HTTPConnection(host=..., port=9): Failed to ..."
    return re.split(r">: |\): ", text)[-1].split("object at 0x")[0].strip()[:200]


def _read(response: requests.Response, url: str) -> Any:
    """The JSON of a good answer, or the typed error for a bad one."""
    if 200 <= response.status_code < 300:
        try:
            return response.json() if response.content else None
        except (json.JSONDecodeError, requests.exceptions.JSONDecodeError):
            raise ResponseError(
                f"{url} answered with something that is not JSON.",
                evidence=_clip(response.text),
                hint="is this address the reranker itself, and not a web page or a proxy?",
            ) from None
    raise _error_of(response, url)


def _error_of(response: requests.Response, url: str) -> RequestError:
    status = response.status_code
    said = _server_message(response)
    evidence = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in (401, 403):
        return AuthError(
            f"{url} refuses the key.", evidence=evidence, hint="set RERANK_API_KEY or pass api_key="
        )
    if status in (301, 302, 303, 307, 308):
        target = response.headers.get("Location", "another address")
        return WrongServerError(
            f"{url} sends us elsewhere ({_clip(target)}).", evidence=evidence,
            hint="use the address it points to, if you trust it",
        )
    if status == 404 and "model" in said.lower():
        return BadRequestError(
            "The server does not serve that model name.", evidence=evidence,
            hint="leave the model out, or use a name from /v1/models",
        )
    if status in (404, 405):
        return WrongServerError(
            f"{url} does not exist there: that server does not rerank.", evidence=evidence,
            hint="vLLM needs --runner pooling; see `rerank-kit doctor --url ...`",
        )
    if status == 400 and "maximum context length" in said:
        return RequestTooLongError(
            "A query and document together are longer than the server's context length.",
            evidence=evidence,
            hint="shorten the text, pass max_tokens_per_doc, or serve a longer --max-model-len",
        )
    if 400 <= status < 500:
        return BadRequestError(
            "The server refused the request.", evidence=evidence, hint="see the evidence"
        )
    return ServerFault(
        "The server failed while answering.", evidence=evidence,
        hint="look at its log (rerank-kit logs), then diagnose or restart it",
    )


def _server_message(response: requests.Response) -> str:
    """vLLM speaks in three shapes: {"error": {"message"}}, {"error": "text"}, {"detail": ...}."""
    try:
        body = response.json()
    except (json.JSONDecodeError, requests.exceptions.JSONDecodeError):
        return _clip(response.text)
    if isinstance(body, dict):
        error = body.get("error", body.get("detail", body.get("message", "")))
        if isinstance(error, dict):
            error = error.get("message", "")
        return _clip(error if isinstance(error, str) else json.dumps(error))
    return _clip(json.dumps(body))


def _clip(text: str) -> str:
    return " ".join(text.split())[:300]
