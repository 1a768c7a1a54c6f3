"""Cut a text to a number of tokens, for servers that cannot do it themselves."""

from __future__ import annotations

from rerank_kit.client.byte_alphabet import byte_of_character
from rerank_kit.client.transport import Transport
from rerank_kit.errors import BadRequestError


def cut_to_tokens(transport: Transport, text: str, max_tokens: int) -> str:
    """The longest beginning of text, in whole characters, that has at most max_tokens tokens:
    what `max_tokens_per_doc` does in vLLM 0.32 (entrypoints/pooling/scoring/utils.py).

    Asks the server's tokeniser; a text of no more bytes than max_tokens needs no asking,
    because each token of Qwen3's byte-level vocabulary stands for at least one byte.
    """
    while len(text.encode("utf-8")) > max_tokens:
        body = {"prompt": text, "add_special_tokens": False, "return_token_strs": True}
        answer = transport.post("/tokenize", body)
        tokens = answer.get("token_strs") if isinstance(answer, dict) else None
        if not isinstance(tokens, list):
            raise BadRequestError(
                "This server can neither limit the tokens of a document nor show them.",
                hint="shorten the documents before, without max_tokens_per_doc",
            )
        if len(tokens) <= max_tokens:
            return text
        kept = b"".join(_bytes_of(token) for token in tokens[:max_tokens])
        shorter = kept.decode("utf-8", errors="ignore")
        # The tokeniser may have composed accents (NFC): a cut must get shorter all the same.
        text = shorter if len(shorter) < len(text) else text[:-1]
    return text



def _bytes_of(token: str) -> bytes:
    table = byte_of_character()
    if all(character in table for character in token):
        return bytes(table[character] for character in token)
    return token.encode("utf-8")  # an added token such as a control token: written as it is
