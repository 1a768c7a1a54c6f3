"""The server's own tokenizer, asked over HTTP: exact counts and token borders, remembered."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from typing import Any

from rerank_kit.client.byte_alphabet import byte_of_character
from rerank_kit.client.sentences import sentence_ends
from rerank_kit.client.transport import Transport
from rerank_kit.errors import (
    AuthError,
    BadRequestError,
    RequestError,
    ResponseError,
    WrongServerError,
)
from rerank_kit.prompt import render

#: Characters sent to /tokenize at once. Its answer is about six bytes a character; the border
#: between two pieces is a sentence's end, where no token reaches across.
PIECE_CHARACTERS = 50_000
#: Token borders remembered, over all texts (about 30 MB).
_REMEMBERED_TOKENS = 1_000_000


class ServerTokenizer:
    """Counts and borders of tokens as the server sees them. Safe to use from several threads."""

    def __init__(self, transport: Transport, model: str | None = None) -> None:
        self._transport = transport
        self._model = model
        self._borders: OrderedDict[str, list[int]] = OrderedDict()
        self._overheads: dict[tuple[str, str | None], int] = {}
        self._lock = threading.Lock()

    def count(self, text: str) -> int:
        """How many tokens text has."""
        return len(self.borders(text))

    def borders(self, text: str, enough: int | None = None) -> list[int]:
        """The character offset at which each token begins.

        enough: stop asking once there are this many (the start of a very long text is all that
        max_chunks_per_doc needs). Where a token begins inside a character (rare Chinese, emoji),
        that character's offset is given.
        """
        starts: list[int] = []
        for begin, end in _pieces(text):
            if enough is not None and len(starts) >= enough:
                break
            starts += [begin + start for start in self._borders_of(text[begin:end])]
        return starts

    def overhead(self, query: str, instruction: str | None) -> int:
        """Tokens of the prompt around an empty document."""
        key = (query, instruction)
        if key not in self._overheads:
            self._overheads[key] = self._rendered_count(query, instruction)
        return self._overheads[key]

    def _rendered_count(self, query: str, instruction: str | None) -> int:
        messages = [{"role": "query", "content": query}, {"role": "document", "content": ""}]
        told = {"instruction": instruction} if instruction else None
        body = {"model": self._model, "messages": messages, "chat_template_kwargs": told}
        try:
            return int(self._ask(body)["count"])
        except (BadRequestError, ResponseError):  # servers that render no score template here
            return len(self._whole(render(query, "", instruction)))

    def _borders_of(self, piece: str) -> list[int]:
        key = hashlib.sha256(piece.encode()).hexdigest()
        with self._lock:
            if key in self._borders:
                self._borders.move_to_end(key)
                return self._borders[key]
        starts = self._whole(piece)
        with self._lock:
            self._borders[key] = starts
            while sum(map(len, self._borders.values())) > _REMEMBERED_TOKENS:
                self._borders.popitem(last=False)
        return starts

    def _whole(self, text: str) -> list[int]:
        answer = self._ask(
            {"model": self._model, "prompt": text, "add_special_tokens": False,
             "return_token_strs": True}
        )  # fmt: skip
        return aligned(text, answer.get("token_strs")) or _spread(text, answer["count"])

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._transport.post("/tokenize", body)
        if not isinstance(answer, dict) or type(answer.get("count")) is not int:
            raise ResponseError(f"{self._transport.root}/tokenize does not count tokens.")
        return answer


def is_without_tokenizer(error: RequestError) -> bool:
    """True when a server simply has no /tokenize for us (a router, another engine, a proxy that
    lets only some paths through and answers 401 or 403 to the others). Where it is really the key
    that is refused, the request for scores says so."""
    return isinstance(error, WrongServerError | ResponseError | BadRequestError | AuthError)


def aligned(text: str, token_strs: Any) -> list[int] | None:
    """Byte-level BPE token strings -> the offset of each token's first character, or None when
    they do not spell text (another kind of tokenizer, or one that normalises)."""
    if not isinstance(token_strs, list) or not token_strs:
        return None if text else []
    table = byte_of_character()
    try:
        lengths = [len(bytes(table[char] for char in token)) for token in token_strs]
        spelt = bytes(table[char] for token in token_strs for char in token)
    except (KeyError, TypeError):
        return None
    if spelt != text.encode():
        return None
    byte_starts = [0, *accumulate(lengths)][:-1]
    if text.isascii():
        return byte_starts
    character_starts = [0, *accumulate(len(char.encode()) for char in text)]
    return [bisect_right(character_starts, start) - 1 for start in byte_starts]


def _spread(text: str, count: int) -> list[int]:
    """count borders evenly over text: the estimate where token strings cannot be aligned."""
    return [place * len(text) // count for place in range(count)]


def _pieces(text: str) -> list[tuple[int, int]]:
    if len(text) <= PIECE_CHARACTERS:
        return [(0, len(text))] if text else []
    ends = sentence_ends(text)
    pieces, begin = [], 0
    while begin < len(text):
        end = min(begin + PIECE_CHARACTERS, len(text))
        place = bisect_right(ends, end) - 1
        if end < len(text) and place >= 0 and ends[place] > begin:
            end = ends[place]
        pieces.append((begin, end))
        begin = end
    return pieces
