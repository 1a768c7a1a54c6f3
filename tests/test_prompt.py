"""The prompt: official wording, harmless texts, and a template that renders the same bytes."""

from __future__ import annotations

import doctest

from fuzzed_pairs import fuzzed_triples
from hypothesis import given
from hypothesis import strategies as st
from official_recipe import DEFAULT, PREFIX, SUFFIX, OfficialRecipe
from transformers.utils.chat_template_utils import render_jinja_template

from rerank_kit import prompt
from rerank_kit.prompt import CONTROL_TOKENS, chat_template_path, neutralise, render

TEXTS = st.lists(st.one_of(st.text(), st.sampled_from(CONTROL_TOKENS))).map("".join)


def rendered_by_template(query: str, document: str, instruction: str | None) -> str:
    messages = [{"role": "query", "content": query}, {"role": "document", "content": document}]
    fields = {} if instruction is None else {"instruction": instruction}
    template = chat_template_path().read_text(encoding="utf-8")
    return render_jinja_template([messages], chat_template=template, **fields)[0][0]


def test_the_wording_is_the_official_one() -> None:
    assert (prompt.PREFIX, prompt.SUFFIX, prompt.DEFAULT_INSTRUCTION) == (PREFIX, SUFFIX, DEFAULT)
    body = f"<Instruct>: {DEFAULT}\n<Query>: q\n<Document>: d"
    assert render("q", "d") == PREFIX + body + SUFFIX
    assert render("q", "d", "") == render("q", "d", None)


def test_template_and_render_agree_on_awkward_texts() -> None:
    for triple in fuzzed_triples():
        fields = (triple.query, triple.document, triple.instruction)
        assert rendered_by_template(*fields) == render(*fields)


@given(TEXTS, TEXTS, st.one_of(st.none(), TEXTS))
def test_template_and_render_agree_on_anything(query: str, document: str, wording: str) -> None:
    assert rendered_by_template(query, document, wording) == render(query, document, wording)


@given(TEXTS)
def test_neutralising_leaves_no_control_token_and_is_done_once(text: str) -> None:
    harmless, found = neutralise(text)
    assert not any(token in harmless for token in CONTROL_TOKENS)
    assert neutralise(harmless) == (harmless, ())
    assert bool(found) == (harmless != text)


def test_every_added_token_of_the_model_is_a_control_token(oracle: OfficialRecipe) -> None:
    added = {token.content for token in oracle.tokenizer.added_tokens_decoder.values()}
    assert added == set(CONTROL_TOKENS)


def test_the_template_survives_messages_of_other_roles() -> None:
    """vLLM renders a warm-up message of role "user" at start; an error there scares people."""
    template = chat_template_path().read_text(encoding="utf-8")
    out, _ = render_jinja_template([[{"role": "user", "content": "x"}]], chat_template=template)
    assert out[0] == render("", "")


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(prompt).failed == 0
