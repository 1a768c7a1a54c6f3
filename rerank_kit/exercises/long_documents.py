"""Checks for the exercises of notebook 06_long_documents_and_batches."""

from __future__ import annotations

from rerank_kit.client.long_documents import Passage
from rerank_kit.exercises.outcome import PASS, reply


@reply
def check_room(room: int, max_model_len: int, overhead: int) -> str:
    """Is this the most tokens that a document may have beside prompt and query?"""
    if room == max_model_len:
        return "hint: the prompt and the query take their part of it"
    if room > max_model_len - overhead:
        return "hint: the server would refuse so long a document"
    if room < max_model_len - overhead:
        return "hint: there is more room than that"
    return PASS


@reply
def check_quote(quote: str, text: str, passage: Passage) -> str:
    """Is quote the passage, cut out of the text by its offsets?"""
    if not quote:
        return "hint: a slice of the text, from the passage's start to its end"
    if quote not in text:
        return "hint: a quotation is part of the text, letter for letter"
    if quote != text[passage.start : passage.end]:
        return "hint: the winning passage knows where it begins and where it ends"
    return PASS
