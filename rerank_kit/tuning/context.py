"""How long a context this load needs, and what a shorter one saves. It moves memory, not speed, so
it is worked out instead of tried."""

from __future__ import annotations

from rerank_kit import memory, models
from rerank_kit.errors import InputError, SetupError
from rerank_kit.server.settings import ServerSettings
from rerank_kit.tuning.texts import LocalTokenizer
from rerank_kit.tuning.workload import Workload

#: Lengths are offered in steps of this many tokens.
_STEP = 256


def context_advice(settings: ServerSettings, workload: Workload) -> str:
    """A sentence on --max-model-len; "" when nothing is to be saved, or nobody can count here."""
    folder = models.local_folder(settings.model)
    try:
        facts = models.facts_of(settings.model)
        tokenizer = LocalTokenizer(folder) if folder is not None else None
    except (InputError, SetupError):
        return ""
    if tokenizer is None:
        return ""
    longest = longest_pair(workload, tokenizer)
    enough = -(-longest // _STEP) * _STEP
    value_bytes = 4 if settings.dtype == "float32" else 2
    batched = settings.max_num_batched_tokens
    now, then = (
        memory.kv_cache_bytes(facts, length, batched, value_bytes) / models.GIB
        for length in (settings.max_model_len, enough)
    )
    if enough >= settings.max_model_len or now - then < 0.005:
        return ""
    return (
        f"The longest pair of this load has {longest:,} tokens: --max-model-len {enough} is enough "
        f"for it and needs {then:.2f} GiB of KV cache instead of {now:.2f}; longer pairs would "
        "then be refused, and be scored in passages by this kit's client."
    )


def longest_pair(workload: Workload, tokenizer: LocalTokenizer) -> int:
    """Tokens of the longest query with the longest document, prompt included."""
    around = max(tokenizer.overhead(query, workload.instruction) for query in workload.queries)
    return around + max(len(tokenizer.borders(text)) for text in workload.documents)
