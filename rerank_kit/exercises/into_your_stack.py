"""Checks for the exercises of notebook 11."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerank_kit.exercises.outcome import PASS, reply


@reply
def check_addresses(addresses: Mapping[str, str], root: str) -> str:
    """addresses: what a client appends -> the address to give it. All must end up at /v1/rerank,
    the path that a key guards."""
    for tail, address in addresses.items():
        if not address:
            return f"hint: which address does the client need that appends {tail or 'nothing'!r}?"
        if address.endswith("/"):
            return "hint: no slash at the end, or two of them meet"
        if f"{address}{tail}" == f"{root}/rerank":
            return "hint: that path works, but no key guards it; aim at /v1/rerank"
        if f"{address}{tail}" != f"{root}/v1/rerank":
            return f"hint: with {tail or 'nothing'!r} behind it, that is not .../v1/rerank"
    return PASS


@reply
def check_hits(documents: Sequence[Any], hits: Sequence[Mapping[str, Any]]) -> str:
    """Every hit as a document: its text, its own id, in the engine's order."""
    if len(documents) != len(hits):
        return f"hint: {len(hits)} hits make {len(hits)} documents"
    for document, hit in zip(documents, hits, strict=True):
        if not isinstance(document, Mapping) or "text" not in document:
            return 'hint: a document is {"id": ..., "text": ...}'
        if document["text"] != hit["_source"]["text"]:
            return "hint: the text is inside _source"
        if document.get("id") != hit["_id"]:
            return "hint: keep the engine's own id; you need it to fetch the record"
    return PASS
