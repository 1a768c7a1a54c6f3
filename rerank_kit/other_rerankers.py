"""Other rerankers that vLLM serves: the flags each needs, and the form in which it reads a pair.

Sources: vLLM's docs/models/pooling_models/scoring.md (the table of cross-encoders and its notes),
vLLM 0.32.0's model_executor/models/registry.py, and the templates in examples/pooling/score of its
repository. The client and its commands need nothing new for them. Only wiring was tested here, on
tiny random weights; their quality was not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_DOCS = "vLLM docs, pooling_models/scoring.md"
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class OtherReranker:
    """architecture: as vLLM's registry names it. overrides: for --hf-overrides. template: a file
    in templates/, "" where the tokenizer joins the pair. encoder: reads a pair in one piece, so a
    batch must hold the longest. max_positions: the longest pair in tokens, as published."""

    name: str
    architecture: str
    max_positions: int
    prompt: str
    overrides: dict[str, Any] = field(default_factory=dict)
    template: str = ""
    flags: tuple[str, ...] = ()
    encoder: bool = False
    takes_instruction: bool = False
    source: str = _DOCS

    @property
    def template_path(self) -> Path | None:
        return TEMPLATES / self.template if self.template else None


_JOINED = "the tokenizer joins query and document with separator tokens; there is no instruction"
_GTE_CODE = ("--trust-remote-code",)  # its config.json names a class of the repository

OTHER_RERANKERS = {
    one.name: one
    for one in (
        OtherReranker(
            "BAAI/bge-reranker-v2-m3", "XLMRobertaForSequenceClassification", 8192, _JOINED,
            encoder=True,
        ),
        OtherReranker(
            "BAAI/bge-reranker-v2-gemma", "GemmaForSequenceClassification", 8192,
            "A: query, B: document, then a question to be answered with Yes; one logit, of Yes",
            overrides={
                "architectures": ["GemmaForSequenceClassification"],
                "classifier_from_token": ["Yes"],
                "method": "no_post_processing",
            },
            template="bge_reranker_v2_gemma.jinja",
            source=f"{_DOCS}; examples/pooling/score/template/bge-reranker-v2-gemma.jinja",
        ),
        OtherReranker(
            "Alibaba-NLP/gte-multilingual-reranker-base", "GteNewForSequenceClassification", 8192,
            _JOINED, overrides={"architectures": ["GteNewForSequenceClassification"]},
            flags=_GTE_CODE, encoder=True,
        ),
        OtherReranker(
            "Alibaba-NLP/gte-reranker-modernbert-base", "ModernBertForSequenceClassification",
            8192, _JOINED, encoder=True,
        ),
        *(
            OtherReranker(
                f"mixedbread-ai/mxbai-rerank-{size}-v2", "Qwen2ForSequenceClassification", 32768,
                "a Qwen2.5 chat turn with query and document, answered with 0 or 1",
                overrides={
                    "architectures": ["Qwen2ForSequenceClassification"],
                    "classifier_from_token": ["0", "1"],
                    "method": "from_2_way_softmax",
                },
                template="mxbai_rerank_v2.jinja",
                source=f"{_DOCS}; examples/pooling/score/template/mxbai_rerank_v2.jinja",
            )
            for size in ("base", "large")
        ),
        OtherReranker(
            "jinaai/jina-reranker-m0", "JinaVLForRanking", 10240,
            "texts and images; the prompt is built into vLLM's model class",
            source=f"{_DOCS}; vLLM 0.32.0 model_executor/models/jina_vl.py",
        ),
        OtherReranker(
            "jinaai/jina-reranker-v3", "JinaForRanking", 131072,
            "all documents of a query in one prompt (listwise), built into vLLM: scores are "
            "cosines, -1 to 1, and depend on the other documents; several queries in one request "
            "are read pair by pair, so rank_many() gives other scores than rank()",
            takes_instruction=True,
            source="vLLM docs, pooling_models/specific_models.md; vLLM 0.32.0 registry.py and "
            "entrypoints/pooling/scoring/io_processor.py",
        ),
    )
}  # fmt: skip


def find(model: str) -> OtherReranker | None:
    """By hub id, or by the name of a folder that holds a copy; None for a Qwen3-Reranker.

    >>> find("BAAI/bge-reranker-v2-m3").encoder
    True
    >>> find("Qwen/Qwen3-Reranker-0.6B") is None
    True
    """
    if model in OTHER_RERANKERS:
        return OTHER_RERANKERS[model]
    last = Path(model).name
    return next((one for name, one in OTHER_RERANKERS.items() if name.endswith("/" + last)), None)
