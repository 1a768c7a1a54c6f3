"""AnswerDotAI rerankers: model_type must be "APIRanker", and url the full address."""

from common import BASE, DOCUMENTS, KEY, MODEL, QUERY, attempt
from rerankers import Reranker


def rank(provider: str) -> list[tuple]:
    ranker = Reranker(
        MODEL, model_type="APIRanker", api_provider=provider, api_key=KEY,
        url=f"{BASE}/v1/rerank", verbose=0,
    )  # fmt: skip
    found = ranker.rank(query=QUERY, docs=DOCUMENTS, doc_ids=list(range(len(DOCUMENTS))))
    return [(one.doc_id, one.score) for one in found.results]


for provider in ("jina", "cohere"):
    attempt("rerankers", f"APIRanker, provider {provider}", lambda: rank(provider),  # noqa: B023
            top_n=len(DOCUMENTS))  # fmt: skip
