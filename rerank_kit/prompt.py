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


def render_halves(query: str, document: str, instruction: str | None = None) -> tuple[str, str]:
    """render() cut before the document. An old vLLM that knows no chat template for scores
    joins the two texts of a pair and reads nothing else: this is its way to the same prompt."""
    whole = render(query, document, instruction)
    tail = f"<Document>: {neutralise(document)[0]}{SUFFIX}"
    return whole.removesuffix(tail), tail


#: Opens and closes the length of an instruction in front of a query. Unicode reserves these
#: code points for a program's internal use: no text may contain them (noncharacters, U+FDD0).
MARK, MARK_END = "\ufdd0", "\ufdd1"


def mark_instruction(query: str, instruction: str | None = None) -> str:
    """The query with its instruction in front, for a server that passes no instruction on and
    runs the template of chat_template_path(marked=True).

    The instruction's length is said, so nothing inside the texts can end it. A query that
    begins with the mark itself (somebody tries) gets the default instruction put before it,
    and is read as it is; every other query without an instruction stays as it is.

    >>> mark_instruction("cat") == "cat"
    True
    """
    if not instruction and not query.startswith(MARK):
        return query
    wording = instruction or DEFAULT_INSTRUCTION
    return f"{MARK}{len(wording)}{MARK_END}{wording}{query}"


def chat_template_path(*, marked: bool = False) -> Path:
    """The chat template that vLLM is given. It renders byte for byte what render() returns.

    marked: the one for vLLM before 0.20, which hands no instruction to a template; it looks
    for one in the query (mark_instruction) and is the same otherwise.

    Jinja drops one newline at the end of a template, so these files end with one more than
    the prompt does: an editor that "tidies" the end of the file breaks every score.
    """
    name = "qwen3_reranker_marked_query.jinja" if marked else "qwen3_reranker.jinja"
    return Path(__file__).parent / "templates" / name
