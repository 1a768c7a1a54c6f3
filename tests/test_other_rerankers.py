"""Rerankers of other families: the right flags for each, and the wiring on tiny random weights.

Random weights rank nothing; what is tested is that vLLM reads the prompt and the head that the
model's own recipe in transformers reads, to the last digit."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import jinja2
import pytest

from rerank_kit import launch, other_rerankers
from rerank_kit.server.profiles import settings_for

QUERY = "how do I water a cactus"
DOCUMENTS = ("Every two weeks, a little.", "The train leaves at noon.", "仙人掌两周浇一次水。")
MXBAI_PROMPT = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\n<|im_start|>user\nquery: {query}\ndocument: {document}\n"
    "You are a search relevance expert who evaluates how well documents match search queries. For "
    "each query-document pair, carefully analyze the semantic relationship between them, then "
    "provide your binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
    "<|im_end|>\n<|im_start|>assistant\n"
)
GEMMA_PROMPT = (
    "A: {query}\nB: {document}\nGiven a query A and a passage B, determine whether the passage "
    "contains an answer to the query by providing a prediction of either 'Yes' or 'No'."
)


@pytest.mark.parametrize("model", other_rerankers.OTHER_RERANKERS.values(), ids=lambda m: m.name)
def test_the_installed_vllm_knows_the_architecture(model: other_rerankers.OtherReranker) -> None:
    """Where no class of that name is registered, vLLM converts the generator of that family."""
    package = importlib.util.find_spec("vllm")
    assert package and package.submodule_search_locations
    registry = Path(package.submodule_search_locations[0], "model_executor/models/registry.py")
    generator = model.architecture.replace("ForSequenceClassification", "ForCausalLM")
    text = registry.read_text(encoding="utf-8")
    assert f'"{model.architecture}"' in text or f'"{generator}"' in text
    assert model.source and model.prompt


@pytest.mark.parametrize(
    ("name", "prompt"),
    [("mixedbread-ai/mxbai-rerank-base-v2", MXBAI_PROMPT),
     ("BAAI/bge-reranker-v2-gemma", GEMMA_PROMPT)],
)  # fmt: skip
def test_templates_render_the_models_own_prompt(name: str, prompt: str) -> None:
    path = other_rerankers.OTHER_RERANKERS[name].template_path
    assert path is not None
    template = jinja2.Template(path.read_bytes().decode())
    texts = (("query", QUERY), ("document", "two\nlines {{ x }}"))
    messages = [{"role": role, "content": content} for role, content in texts]
    rendered = template.render(messages=messages)
    assert rendered == prompt.format(query=QUERY, document="two\nlines {{ x }}")


def test_launch_gives_each_its_flags() -> None:
    def flags(name: str) -> list[str]:
        return settings_for("cpu", name).vllm_arguments(8000)

    bge, mxbai = flags("BAAI/bge-reranker-v2-m3"), flags("mixedbread-ai/mxbai-rerank-base-v2")
    assert "--chat-template" not in bge and "--hf-overrides" not in bge
    step = int(bge[bge.index("--max-num-batched-tokens") + 1])
    assert step >= int(bge[bge.index("--max-model-len") + 1])
    assert mxbai[mxbai.index("--chat-template") + 1].endswith("mxbai_rerank_v2.jinja")
    overrides = json.loads(mxbai[mxbai.index("--hf-overrides") + 1])
    assert overrides["classifier_from_token"] == ["0", "1"]
    assert "--trust-remote-code" in flags("Alibaba-NLP/gte-multilingual-reranker-base")


@pytest.mark.full
@pytest.mark.parametrize("name", ["bge-reranker-v2-m3", "mxbai-rerank-base-v2"])
def test_served_scores_are_those_of_the_models_own_recipe(
    name: str, own_state: Path, tmp_path: Path
) -> None:
    import tiny_rerankers  # torch: only where it is needed

    folder = tmp_path / name
    if name.startswith("bge"):
        expected = tiny_rerankers.bge_reranker_v2_m3(folder, QUERY, DOCUMENTS)
    else:
        expected = tiny_rerankers.mxbai_rerank_base_v2(folder, QUERY, DOCUMENTS, MXBAI_PROMPT)
    assert max(expected) - min(expected) > 1e-3, "weights that tell nothing apart"
    with launch("practice", str(folder), score_check=False) as server:
        ranking = server.reranker().rank(QUERY, DOCUMENTS)
    for one in ranking:
        assert one.score == pytest.approx(expected[one.index], abs=1e-5)
