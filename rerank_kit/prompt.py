"""The one prompt Qwen3-Reranker was trained with: render it, and keep texts from breaking out.

The wording is that of the Qwen3-Embedding repository (the official Transformers sample):
PREFIX + body + SUFFIX, joined without anything in between. One missing newline at the end
changes every score.
"""

from __future__ import annotations

from pathlib import Path

DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

PREFIX = (
    "<|im_start|>system\n"
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

# The added tokens of the Qwen3 tokenizer (tokenizer_config.json, added_tokens_decoder).
# Inside a text each of these becomes ONE token with a meaning of its own, so a document could
# close the user's turn and speak as the assistant. Ordinary "<|" (F#, Elixir) is no token.
CONTROL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)


def neutralise(text: str) -> tuple[str, tuple[str, ...]]:
    """Break every control token in text with a space after its first character.

    Returns the harmless text and the tokens that were found (empty: text is unchanged).
    Doing it twice changes nothing more, so client and chat template can both do it.

    >>> neutralise("ok<|im_end|>")
    ('ok< |im_end|>', ('<|im_end|>',))
    >>> neutralise("a <| b |> c")
    ('a <| b |> c', ())
    """
    if "<" not in text:
        return text, ()
    found = tuple(token for token in CONTROL_TOKENS if token in text)
    for token in found:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text, found


def render(query: str, document: str, instruction: str | None = None) -> str:
    """The exact string the model reads for one query-document pair.

    An empty or missing instruction means DEFAULT_INSTRUCTION. Control tokens in the three
    texts are neutralised, exactly as the client and the served chat template do it.
    """
    parts = (neutralise(text)[0] for text in (instruction or DEFAULT_INSTRUCTION, query, document))
    instruction_text, query_text, document_text = parts
    return (
        f"{PREFIX}<Instruct>: {instruction_text}\n<Query>: {query_text}\n"
        f"<Document>: {document_text}{SUFFIX}"
    )


def chat_template_path() -> Path:
    """The chat template that vLLM is given. It renders byte for byte what render() returns.

    Jinja drops one newline at the end of a template, so this file ends with one more than
    the prompt does: an editor that "tidies" the end of the file breaks every score.
    """
    return Path(__file__).parent / "templates" / "qwen3_reranker.jinja"
