"""A bad HTTP answer -> one typed error in plain words. Pure: values in, an exception out."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rerank_kit.errors import (
    AuthError,
    BadRequestError,
    PayloadTooLargeError,
    RequestError,
    RequestTooLongError,
    ResponseError,
    ServerFault,
    WrongServerError,
)

#: Statuses of a server that is away, starting or full: the same request may succeed later.
AWAY = (429, 502, 503, 504)
#: What vLLM answers (HTTP 500) between the death of its engine and the end of its process.
_ENGINE_IS_DEAD = ("EngineDead", "EngineCore encountered an issue", "engine loop has died")
#: Wordings for "this pair is longer than the model reads": vLLM 0.32 and older, TEI, SGLang.
_TOO_LONG = (
    "maximum context length",
    "maximum model length",
    "longer than the maximum",
    "must have less than",
    "longer than the model's context length",
)


def read_json(status: int, content: bytes, headers: Mapping[str, str], url: str) -> object:
    """The JSON of a good answer (None when it is empty), or the typed error of a bad one."""
    if not 200 <= status < 300:
        raise error_of(status, content, headers, url)
    if not content:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise ResponseError(
            f"{url} answered with something that is not JSON.",
            evidence=clip(_text(content)),
            hint="is this address the reranker itself, and not a web page or a proxy?",
        ) from None


def error_of(
    status: int, content: bytes, headers: Mapping[str, str], url: str
) -> RequestError:
    """The typed error of an answer whose status is not 2xx."""
    said = server_message(content)
    evidence = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in (401, 403):
        return AuthError(
            f"{url} refuses the key.", evidence=evidence, hint="set RERANK_API_KEY or pass api_key="
        )
    if status == 407:
        return AuthError(
            "A proxy on the way wants a password.", evidence=evidence,
            hint="put the server's address into NO_PROXY, or log in to the proxy",
        )
    if 300 <= status < 400:
        target = headers.get("Location", "another address")
        return WrongServerError(
            f"{url} sends us elsewhere ({clip(target)}).", evidence=evidence,
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
    if status in (400, 413, 422) and any(words in said for words in _TOO_LONG):
        return RequestTooLongError(
            "A query and document together are longer than the server's context length.",
            evidence=evidence,
            hint="shorten the text, pass max_tokens_per_doc, or serve a longer --max-model-len",
        )
    if status == 413:
        return PayloadTooLargeError(
            f"{url} takes no request of this size.", evidence=evidence,
            hint="a proxy in front may limit it (nginx: client_max_body_size, 1 MB by default)",
        )
    if status == 429:
        return ServerFault(
            "The server has too much to do and turns requests away.", evidence=evidence,
            hint="send less at once, or try again later",
        )
    if 400 <= status < 500:
        return BadRequestError(
            "The server refused the request.", evidence=evidence, hint="see the evidence"
        )
    return ServerFault(
        "The server failed while answering.", evidence=evidence,
        hint="look at its log (rerank-kit logs), then diagnose or restart it",
    )


def is_away(status: int, content: bytes) -> bool:
    """True where waiting may help: the server is starting, full, or its engine just died."""
    if status in AWAY:
        return True
    return status == 500 and any(words in _text(content) for words in _ENGINE_IS_DEAD)


def server_message(content: bytes) -> str:
    """What the server said, in one line. Engines use several shapes: {"error": {"message"}},
    {"error": "text"}, {"detail": ...} (vLLM), {"message"} (SGLang), or no JSON at all."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return clip(_text(content))
    if isinstance(body, dict):
        error = body.get("error", body.get("detail", body.get("message", "")))
        if isinstance(error, dict):
            error = error.get("message", "")
        return clip(error if isinstance(error, str) else json.dumps(error))
    return clip(json.dumps(body))


def clip(text: str) -> str:
    """At most 300 characters on one line."""
    return " ".join(text.split())[:300]


def _text(content: bytes) -> str:
    return content[:20_000].decode("utf-8", "replace")
