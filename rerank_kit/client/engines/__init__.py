"""The small differences between the servers that can rerank, one file per engine."""

from __future__ import annotations

from typing import Any

from rerank_kit.client.engines.base import Answer, Batch, Engine, ServedModel
from rerank_kit.client.engines.infinity import Infinity
from rerank_kit.client.engines.sglang import Sglang
from rerank_kit.client.engines.tei import Tei
from rerank_kit.client.engines.vllm import Vllm, VllmWithoutTemplate
from rerank_kit.client.transport import Transport
from rerank_kit.errors import InputError, WrongServerError

_ENGINES: dict[str, type] = {
    "vllm": Vllm, "vllm-no-template": VllmWithoutTemplate, "sglang": Sglang, "tei": Tei,
    "infinity": Infinity,
}  # fmt: skip
NAMES = ("auto", *_ENGINES)


def engine_named(name: str) -> Engine:
    """The adapter of a name in NAMES other than "auto"."""
    if name not in _ENGINES:
        raise InputError(
            f"{name!r} is no engine that this client knows.", hint=f"one of {', '.join(NAMES)}"
        )
    made: Engine = _ENGINES[name]()
    return made


def detect(transport: Transport) -> tuple[Engine, Any]:
    """Which engine answers there: by the owner in its list of models, or by TEI's /info. With it
    comes what the server said, for the engine's describe(), so that it is asked once.

    A router or a proxy that hides the list is taken for vLLM, whose /v1/score it forwards.
    """
    try:
        listed = transport.get("/v1/models")
    except WrongServerError:
        return _without_a_model_list(transport)
    owner = _owner(listed)
    return engine_named(owner if owner in _ENGINES else "vllm"), listed


def _without_a_model_list(transport: Transport) -> tuple[Engine, Any]:
    for path, key, name in (("/info", "max_client_batch_size", "tei"), ("/models", "data", "")):
        try:
            found = transport.get(path)
        except WrongServerError:
            continue
        if isinstance(found, dict) and key in found:
            named = name or ("infinity" if _owner(found) == "infinity" else "vllm")
            return engine_named(named), None if named == "vllm" else found
    return engine_named("vllm"), None


def _owner(listed: Any) -> str:
    try:
        return str(listed["data"][0]["owned_by"])
    except (KeyError, IndexError, TypeError):
        return ""


__all__ = ["NAMES", "Answer", "Batch", "Engine", "ServedModel", "detect", "engine_named"]
