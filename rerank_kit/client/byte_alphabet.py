"""How byte-level vocabularies write bytes: the one table behind token strings and their bytes."""

from __future__ import annotations

import functools


@functools.cache
def byte_of_character() -> dict[str, int]:
    """The table of GPT-2's byte-level BPE, which Qwen uses: every byte has one printable
    character. What is printable in Latin-1 stands for itself, the others follow from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }
