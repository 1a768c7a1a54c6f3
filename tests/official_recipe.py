"""The oracle: the official recipe of the Qwen3-Embedding repository, in float32.

Written out once more, on purpose without rerank_kit.prompt: a slip there must not be able to
hide here. Texts arrive as the server reads them, that is with control tokens neutralised."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PREFIX = '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'  # noqa: E501
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
DEFAULT = "Given a web search query, retrieve relevant passages that answer the query"


class OfficialRecipe:
    """score() as the official sample does it: the yes and no logits at the last position."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.no_id, self.yes_id = self.tokenizer.convert_tokens_to_ids(["no", "yes"])

    def prompt(self, query: str, document: str, instruction: str | None = None) -> str:
        wording = instruction or DEFAULT
        body = f"<Instruct>: {wording}\n<Query>: {query}\n<Document>: {document}"
        return PREFIX + body + SUFFIX

    @torch.no_grad()
    def score_prompt(self, prompt: str) -> float:
        ids = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        hidden = self.model.model(input_ids=ids).last_hidden_state[0, -1]
        head = self.model.get_output_embeddings().weight
        logits = torch.stack([hidden @ head[self.no_id], hidden @ head[self.yes_id]])
        return float(torch.softmax(logits, dim=0)[1])

    def score(self, query: str, document: str, instruction: str | None = None) -> float:
        return self.score_prompt(self.prompt(query, document, instruction))
