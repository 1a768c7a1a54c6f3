"""What a server understands: asked once per client, so that every version reads one prompt.

vLLM's score request grew over the years. What each version does with it is in versions.json,
observed on real servers; here a request is worded so that the model reads the official prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rerank_kit import prompt, versions
from rerank_kit.client.cutting import cut_to_tokens
from rerank_kit.client.transport import Transport
from rerank_kit.errors import (
    BadRequestError,
    RequestError,
    RequestTimeout,
    ResponseError,
    UnreachableError,
)
from rerank_kit.samples import KNOWN_DOCUMENTS, KNOWN_MARGIN, KNOWN_QUERY

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Dialect:
    """How to word a score request for one server. The default is what vLLM 0.32 understands,
    and what is sent to a server that does not say its version."""

    version: str = ""
    prompt: str = versions.BY_TEMPLATE
    score_fields: tuple[str, str] = ("queries", "documents")
    limits_documents: bool = True
    gives_raw_scores: bool = True
    reads_marks: bool = False  # verified: its chat template finds a marked instruction

    def body(
        self, pairs: Pairs, instruction: str | None = None, max_tokens_per_doc: int | None = None
    ) -> dict[str, Any]:
        """The fields of a /v1/score request for these pairs."""
        queries = [query for query, _ in pairs]
        documents = [document for _, document in pairs]
        fields: dict[str, Any] = {}
        if self.prompt == versions.BY_CLIENT:
            heads_and_tails = [prompt.render_halves(*pair, instruction) for pair in pairs]
            queries = [head for head, _ in heads_and_tails]
            documents = [tail for _, tail in heads_and_tails]
        elif self.prompt == versions.BY_MARKED_QUERY:
            if self.reads_marks or instruction:
                queries = [prompt.mark_instruction(query, instruction) for query in queries]
        else:
            fields["instruction"] = instruction
            if len(set(queries)) == 1:
                queries = queries[:1]  # one query for all the documents: it travels once
        if self.limits_documents:
            fields["max_tokens_per_doc"] = max_tokens_per_doc
        return {self.score_fields[0]: queries, self.score_fields[1]: documents, **fields}


def ask(transport: Transport) -> Dialect:
    """The dialect of a server: one GET /version. A server that does not answer it (another
    engine, a proxy that lets only /v1 through) is spoken to like the newest vLLM."""
    try:
        answer = transport.get("/version")
    except (UnreachableError, RequestTimeout):
        raise
    except RequestError:
        return Dialect()
    version = answer.get("version") if isinstance(answer, dict) else None
    if not isinstance(version, str):
        return Dialect()
    facts = versions.facts_of(version)
    dialect = Dialect(
        version, facts.prompt, facts.score_fields, facts.limits_documents, facts.gives_raw_scores
    )
    if facts.prompt == versions.REFUSED:
        raise BadRequestError(
            f"vLLM {version} cannot give the official scores.", evidence=facts.refused_because,
            hint="use a newer vLLM: rerank-kit launch on a set-up made by scripts/start.sh",
        )
    if facts.prompt == versions.BY_CLIENT:
        _verify_client_prompt(transport, dialect)
    return dialect


def verified(
    dialect: Dialect, transport: Transport, pairs: Pairs, instruction: str | None,
    raw_scores: bool = False,
) -> Dialect:
    """What has to be known before a request can be worded: that an old server's template finds
    the instruction. Asked once, and only when there is an instruction to find or a query that
    could be taken for one."""
    if raw_scores and not dialect.gives_raw_scores:
        raise BadRequestError(
            f"vLLM {dialect.version} gives no raw scores.",
            hint="use the relevance scores, or a newer vLLM",
        )
    if dialect.prompt == versions.BY_MARKED_QUERY and not dialect.reads_marks:
        if instruction or any(query.startswith(prompt.MARK) for query, _ in pairs):
            return _verify_marks(transport, dialect, needed=bool(instruction))
    return dialect


def cut(
    dialect: Dialect, transport: Transport, pairs: Pairs, max_tokens_per_doc: int | None
) -> Pairs:
    """The pairs as they are sent: documents cut here, for a server that does not do it."""
    if not max_tokens_per_doc or dialect.limits_documents:
        return pairs
    cuts = {text: cut_to_tokens(transport, text, max_tokens_per_doc) for _, text in pairs}
    return [(query, cuts[text]) for query, text in pairs]


def _verify_marks(transport: Transport, dialect: Dialect, needed: bool) -> Dialect:
    """Let the server show the prompt of a marked query. An instruction that the model would
    read as part of the query is refused, never sent."""
    query = prompt.mark_instruction("q", "Zebra")
    messages = [{"role": "query", "content": query}, {"role": "document", "content": "d"}]
    evidence = "its chat template does not look for an instruction in the query"
    try:
        answer = transport.post("/tokenize", {"messages": messages, "return_token_strs": True})
        seen = "".join(answer["token_strs"])
    except (RequestError, KeyError, TypeError) as error:
        said = error.message if isinstance(error, RequestError) else error
        seen, evidence = "", f"its prompt cannot be seen: {said}"
    # Byte-level tokens: "Ġ" stands for a space, "Ċ" for a newline.
    if "<Instruct>: Zebra\n<Query>: q\n" in seen.replace("Ġ", " ").replace("Ċ", "\n"):
        return replace(dialect, reads_marks=True)
    if not needed:
        return dialect
    raise BadRequestError(
        f"vLLM {dialect.version} passes no instruction on to the model, and this server's "
        "template cannot find one in the query.",
        evidence=evidence,
        hint="start it with `rerank-kit launch`, or with the template that "
        "`rerank-kit launch --print` shows there",
    )


def without_template(transport: Transport) -> Dialect:
    """For a server of any version that was started without a chat template: it joins the two
    texts of a pair and reads nothing else, so the finished prompt goes there in two halves.
    Refused when the server does anything more than that."""
    try:
        answer = transport.get("/version")
    except (UnreachableError, RequestTimeout):
        raise
    except RequestError:
        answer = {}
    version = answer.get("version") if isinstance(answer, dict) else None
    facts = versions.facts_of(version if isinstance(version, str) else None)
    # The server would cut the second half, and with it the end of the prompt: cut here.
    dialect = Dialect(
        facts.version if version is None else str(version), versions.BY_CLIENT,
        facts.score_fields, limits_documents=False, gives_raw_scores=facts.gives_raw_scores,
    )  # fmt: skip
    _verify_client_prompt(transport, dialect)
    return dialect


def _verify_client_prompt(transport: Transport, dialect: Dialect) -> None:
    """Is the finished prompt read as it is? By its number of tokens, then by the known answer:
    a template that wraps the prompt once more can leave a right answer above a wrong one."""
    pairs = [(KNOWN_QUERY, text) for text in KNOWN_DOCUMENTS]
    answer = transport.post("/v1/score", dialect.body(pairs))
    try:
        right, wrong = sorted(answer["data"], key=lambda row: row["index"])
        margin = float(right["score"]) - float(wrong["score"])
    except (KeyError, TypeError, ValueError):
        raise ResponseError("The answer to /v1/score holds no scores.") from None
    read, sent = _tokens_read(answer), _tokens_of_prompts(transport, pairs)
    if read is not None and sent is not None and read != sent:
        raise BadRequestError(
            "This server does not read a finished prompt as it is.",
            evidence=f"it reads {read} tokens where {sent} were sent: a chat template or a "
            "separator of its own is added",
            hint="leave out engine='vllm-no-template'; a vLLM that is spoken to like this because "
            "of its age has to be started without --chat-template",
        )
    if margin < KNOWN_MARGIN:
        raise BadRequestError(
            f"vLLM {dialect.version} does not read the official prompt here, so its scores "
            "would be wrong.",
            evidence=f"a right answer scores {right['score']:.3f}, a wrong one "
            f"{wrong['score']:.3f}",
            hint="serve Qwen3-Reranker with the overrides that `rerank-kit launch --print` "
            "shows, or use a newer vLLM",
        )


def _tokens_read(answer: Any) -> int | None:
    try:
        return int(answer["usage"]["prompt_tokens"])
    except (KeyError, TypeError, ValueError):
        return None


def _tokens_of_prompts(transport: Transport, pairs: Pairs) -> int | None:
    """How many tokens the official prompts of these pairs have; None where nobody counts."""
    total = 0
    for query, document in pairs:
        body = {"prompt": prompt.render(query, document), "add_special_tokens": False}
        try:
            total += len(transport.post("/tokenize", body)["tokens"])
        except (RequestError, KeyError, TypeError):
            return None
    return total
