"""LlamaIndex: the Cohere postprocessor takes the root, the Jina one takes BASE/v1.

Both send a node's metadata with its text (MetadataMode.EMBED): exclude keys that must not count.
"""

from common import BASE, DOCUMENTS, KEY, MODEL, QUERY, TOP_N, attempt
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank


def pairs(reranker: object) -> list[tuple]:
    nodes = [
        NodeWithScore(node=TextNode(text=text, id_=str(place)), score=0.0)
        for place, text in enumerate(DOCUMENTS)
    ]
    found = reranker.postprocess_nodes(nodes, query_str=QUERY)
    return [(int(one.node.node_id), one.score) for one in found]


attempt(
    "llama-index-postprocessor-cohere-rerank", "CohereRerank(base_url=root)",
    lambda: pairs(CohereRerank(model=MODEL, api_key=KEY, base_url=BASE, top_n=TOP_N)),
)  # fmt: skip
attempt(
    "llama-index-postprocessor-jinaai-rerank", "JinaRerank(base_url=root/v1)",
    lambda: pairs(JinaRerank(model=MODEL, api_key=KEY, base_url=f"{BASE}/v1", top_n=TOP_N)),
)  # fmt: skip
