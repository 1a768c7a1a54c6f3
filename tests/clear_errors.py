"""What every error of ours must be."""

from __future__ import annotations

from rerank_kit import errors


def is_clear(error: errors.RerankKitError) -> bool:
    """One sentence, no traceback, no object addresses, not a novel."""
    lines = str(error).splitlines()
    return (
        bool(error.message) and len(error.message) < 300 and len(lines) <= 3
        and "Traceback" not in str(error) and " at 0x" not in str(error)
    )  # fmt: skip
