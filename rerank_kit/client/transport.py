"""HTTP to a reranking server: one session, finite timeouts, careful retries, typed errors."""

from __future__ import annotations

import ipaddress
import math
import os
import random
import re
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from urllib3.exceptions import LocationValueError

from rerank_kit.client.away import AwayNotice
from rerank_kit.client.connections import DeadlineAdapter, read_body
from rerank_kit.client.http_errors import error_of, is_away, read_json
from rerank_kit.errors import (
    InputError,
    RequestError,
    RequestTimeout,
    UnreachableError,
)

#: Seconds for one request: a batch of 200 long documents on a slow machine takes minutes.
DEFAULT_TIMEOUT_SECONDS = 300.0
#: How long a server that has answered before may be away. A restart takes 20 to 60 s.
DEFAULT_RETRY_SECONDS = 90.0
#: Pauses between attempts double from the first to the last of these, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.3, 2.0
#: A plain HTTP 500 is repeated this often: a passing fault heals, a bug does not.
_REPEATS_OF_A_FAULT = 2
_KNOWN_TAILS = ("/v1/rerank", "/v2/rerank", "/v1/score", "/rerank", "/score", "/v1", "/v2")


def normalise_url(address: str) -> str:
    """Any form of a server's address -> its root, without a slash at the end.

    >>> normalise_url("127.0.0.1:8000/v1/rerank")
    'http://127.0.0.1:8000'
    """
    text = address.strip() if isinstance(address, str) else ""
    one_slash = re.match(r"[a-zA-Z]+:/(?!/)", text)  # http:/host is a typing slip, not a host
    if not text or one_slash or not text.isprintable() or " " in text:
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
    never part of a message or a repr.

    A rerank request changes nothing on the server, so it may be sent again. timeout_seconds:
    limit of one attempt. retries: quick attempts more (2 s together) for a server that has not
    answered yet; 0 means one attempt and no more, ever. retry_seconds: how long a server that
    HAS answered may then be away (a restart) before its error is raised; from 3 s on a warning in
    the log "rerank_kit" says so. 4xx answers and time-outs are never repeated.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retries: int = 3,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
    ) -> None:
        self.root = normalise_url(url)
        self.timeout_seconds = _seconds("timeout_seconds", timeout_seconds, at_least=0.001)
        self.retry_seconds = _seconds("retry_seconds", retry_seconds, at_least=0.0)
        self.attempts_repeated = 0
        self._retries = retries
        self._has_answered = False
        self._notice = AwayNotice(self.root, self.retry_seconds)
        self._session = requests.Session()
        self._session.auth = _Key(
            api_key if api_key is not None else os.environ.get("RERANK_API_KEY", "")
        )
        if _is_loopback(self.root):  # a proxy set for the internet cannot reach this machine
            self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, DeadlineAdapter(pool_maxsize=64))

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
        began, attempt = time.monotonic(), 0
        while True:
            try:
                answer = self._once(method, url, body, seconds)
                self._has_answered = True
                self._notice.back()
                return answer
            except _MayHeal as failure:
                pause = failure.pause_seconds(attempt)
                waited = time.monotonic() - began
                if not self._goes_on(failure, attempt, waited + pause):
                    if waited > 5:
                        failure.error.evidence += f"; tried again for {waited:.0f} s"
                    raise failure.error from None
                self._notice.away(waited + pause)
            attempt += 1
            self.attempts_repeated += 1
            time.sleep(pause)

    def _goes_on(self, failure: _MayHeal, attempt: int, seconds: float) -> bool:
        if self._retries == 0:
            return False
        if failure.is_fault:
            return attempt < _REPEATS_OF_A_FAULT
        if self._has_answered:
            return seconds <= self.retry_seconds
        return attempt < self._retries

    def _once(self, method: str, url: str, body: dict[str, Any] | None, seconds: float) -> Any:
        """One attempt. Raises _MayHeal where another one may succeed."""
        began = time.monotonic()
        try:
            with self._session.request(
                method, url, json=body, timeout=(min(10.0, seconds), seconds),
                allow_redirects=False, stream=True,
            ) as response:  # fmt: skip
                content = read_body(response, began + seconds)
        except (requests.exceptions.InvalidURL, LocationValueError, UnicodeError) as error:
            raise InputError(
                f"{self.root[:80]!r} is not an address that can be called.",
                evidence=str(error)[:200],
            ) from None
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                f"No secure connection to {self.root} could be made.",
                evidence=_reason(error),
                hint="use http:// for a server without TLS, or check its certificate",
            ) from None
        except requests.exceptions.ConnectTimeout:
            raise _MayHeal(UnreachableError(
                f"{self.root} did not take the connection in time.",
                hint="is the machine on, is the port open, is the address right?",
            )) from None  # fmt: skip
        except requests.exceptions.Timeout:
            raise _no_answer_in_time(url, seconds) from None
        except requests.exceptions.ProxyError as error:
            raise _MayHeal(UnreachableError(
                f"The proxy on the way to {self.root} does not answer.",
                evidence=_reason(error),
                hint="unset HTTP_PROXY and HTTPS_PROXY, or put the address into NO_PROXY",
            )) from None  # fmt: skip
        except (requests.exceptions.ConnectionError, OSError) as error:
            if time.monotonic() - began >= seconds:
                raise _no_answer_in_time(url, seconds) from None
            if isinstance(error, requests.exceptions.ConnectionError):
                failed = self._broken(error)
            elif isinstance(error, requests.exceptions.RequestException):
                failed = RequestError(
                    f"The answer of {url} cannot be read.", evidence=_reason(error),
                    hint="another service may listen there, or the connection broke off",
                )
            else:
                failed = UnreachableError(
                    f"The connection to {self.root} broke.", evidence=_reason(error)
                )
            raise _MayHeal(failed) from None
        status, headers = response.status_code, response.headers
        if is_away(status, content):
            raise _MayHeal(
                error_of(status, content, headers, url),
                after_seconds=_retry_after(headers.get("Retry-After", "")),
            )
        if status >= 500:
            raise _MayHeal(error_of(status, content, headers, url), is_fault=True)
        return read_json(status, content, headers, url)

    def _broken(self, error: Exception) -> RequestError:
        reason = _reason(error)
        if any(words in reason for words in ("refused", "resolve", "unreachable", "No route")):
            return UnreachableError(
                f"Nothing answers at {self.root}.",
                evidence=reason,
                hint="start a server (rerank-kit launch) or check the address and the tunnel",
            )
        return UnreachableError(
            f"{self.root} broke off the connection.",
            evidence=reason,
            hint="did the server stop or restart? `rerank-kit status`, `rerank-kit logs`",
        )


class _MayHeal(Exception):
    """An attempt that failed in a way that may pass. is_fault: a plain HTTP 500."""

    def __init__(
        self, error: RequestError, *, is_fault: bool = False, after_seconds: float | None = None
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.is_fault = is_fault
        self.after_seconds = after_seconds

    def pause_seconds(self, attempt: int) -> float:
        """Doubling, with a random part so that many clients do not come back in step."""
        if self.after_seconds is not None:
            return self.after_seconds
        return min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.75, 1.0)


class _Key(requests.auth.AuthBase):
    """Sends the key, and keeps requests from putting a .netrc password in its place."""

    def __init__(self, key: str) -> None:
        if not isinstance(key, str) or not key.isascii() or any(not 32 < ord(c) < 127 for c in key):
            raise InputError(
                "The API key holds a character that no HTTP header can carry.",
                hint="copy it again, without quotes, spaces or line ends",
            )
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _no_answer_in_time(url: str, seconds: float) -> RequestTimeout:
    return RequestTimeout(
        f"{url} gave no answer within {seconds:g} seconds.",
        hint="send fewer or shorter documents, or raise timeout_seconds",
    )


def _seconds(name: str, value: float, *, at_least: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < at_least:
        raise InputError(f"{name} must be a number of seconds from {at_least:g}, not {value!r}.")
    return float(value)


def _retry_after(text: str) -> float | None:
    """Retry-After in seconds; its date form and nonsense are passed over. At most 30 s."""
    return min(float(text), 30.0) if text.isascii() and text.isdigit() else None


def _is_loopback(root: str) -> bool:
    host = urlsplit(root).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    """The innermost cause in one line, without object addresses."""
    inner: BaseException = error
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    text = str(reason if reason is not None else inner)
    # urllib3 prefixes its own view: "HTTPConnection(host=..., port=9): Failed to ..."
    return re.split(r">: |\): ", text)[-1].split("object at 0x")[0].strip()[:200]
