"""Milvus as the first stage (milvus-lite, in this process): recall by its own BM25, then rerank."""

import tempfile
from pathlib import Path

from common import DOCUMENTS, MODEL, QUERY, attempt, post
from pymilvus import DataType, Function, FunctionType, MilvusClient


def recalled(folder: str) -> list[int]:
    """Ids of the documents that Milvus finds for the query, best first."""
    client = MilvusClient(str(Path(folder) / "corpus.db"))
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=2000, enable_analyzer=True)
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function(name="bm25", function_type=FunctionType.BM25, input_field_names=["text"],
                 output_field_names=["words"])
    )  # fmt: skip
    index = client.prepare_index_params()
    index.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection("corpus", schema=schema, index_params=index)
    client.insert("corpus", [{"id": i, "text": text} for i, text in enumerate(DOCUMENTS)])
    client.flush("corpus")
    [hits] = client.search("corpus", data=[QUERY], anns_field="words", limit=3)
    client.close()
    return [hit["id"] for hit in hits]


def two_stages() -> list[tuple]:
    with tempfile.TemporaryDirectory() as folder:
        ids = recalled(folder)
    assert ids and 2 not in ids, f"BM25 found {ids}"  # the Chinese recipe shares no word with it
    texts = [DOCUMENTS[one] for one in ids]
    answer = post("/v1/rerank", {"model": MODEL, "query": QUERY, "documents": texts, "top_n": 1})
    return [(ids[row["index"]], row["relevance_score"]) for row in answer["results"]]


attempt("pymilvus", "milvus-lite BM25, then /v1/rerank", two_stages, top_n=1)
