"""Three Haystack rankers. CohereRanker's own max_tokens_per_doc (4096) is refused by servers with a
context of 4096 or less; 0 means no cut."""

import os

from common import BASE, DOCUMENTS, INSTRUCTION, KEY, MODEL, QUERY, TOP_N, attempt, by_text

os.environ["VLLM_API_KEY"] = KEY
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.jina import JinaRanker
from haystack_integrations.components.rankers.vllm import VLLMRanker

documents = [Document(content=text) for text in DOCUMENTS]
key = Secret.from_token(KEY)


def pairs(ranker: object) -> list[tuple]:
    if hasattr(ranker, "warm_up"):
        ranker.warm_up()
    found = ranker.run(query=QUERY, documents=documents)["documents"]
    return by_text([(one.content, one.score) for one in found])


def vllm(**fields: object) -> object:
    return VLLMRanker(model=MODEL, api_base_url=f"{BASE}/v1", top_k=TOP_N, **fields)


attempt("vllm-haystack", "VLLMRanker", lambda: pairs(vllm()))
attempt(
    "vllm-haystack", "VLLMRanker with an instruction",
    lambda: pairs(vllm(extra_parameters={"instruction": INSTRUCTION})), INSTRUCTION,
)  # fmt: skip
attempt(
    "cohere-haystack", "CohereRanker(max_tokens_per_doc=0)",
    lambda: pairs(CohereRanker(model=MODEL, api_base_url=BASE, api_key=key, top_k=TOP_N,
                               max_tokens_per_doc=0)),
)  # fmt: skip
attempt(
    "jina-haystack", "JinaRanker(base_url=root/v1/rerank)",
    lambda: pairs(JinaRanker(model=MODEL, base_url=f"{BASE}/v1/rerank", api_key=key, top_k=TOP_N)),
)  # fmt: skip
