"""Measures the model on held-out texts, beside BM25 on the very same groups.

Every group is a query with one right document and nine wrong ones. "random" negatives are other
held-out passages; "hard" ones are those that BM25 finds most similar to the query, or, when the
documents are in the other language, to the same query in that language.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from . import bm25, instructions, keyword_sets, packing, prompt
from .groups import NEAR_DUPLICATE, Group
from .sources import Pair
from .texts import CodeItem, Concept, Search, Texts, read_sanity

NEGATIVES = 9
AIM_TOP_1 = 0.90
# What the aim was set for: ordinary searches in and across two languages, and translated messages.
AIMED_AT = ("searches", "keywords", "messages")
LEARNT_SHARE = 0.80
TOKENS_PER_PASS = 8_000
GROUPS_OF_MESSAGES = 150
QUICK_GROUPS = 50
GROUPS_OF_LONG_DOCUMENTS = 60
GROUPS_OF_INSTRUCTIONS = 40
FILLER_PASSAGES = 5
DIRECTIONS = {
    "zh to zh": ("zh", "zh"),
    "en to en": ("en", "en"),
    "zh to en": ("zh", "en"),
    "en to zh": ("en", "zh"),
}
Score = Callable[[list[Group]], list[np.ndarray]]


@dataclass(frozen=True)
class Corpus:
    """The held-out texts of one split, and all passages from which hard negatives come."""

    concepts: list[Concept]
    searches: list[Search]
    messages: list[Pair]
    code: list[CodeItem]
    distractors: list[Concept]
    search_distractors: list[Search]


def corpus_of(texts: Texts, split: str) -> Corpus:
    """The held-out part named "validation" or "test"; distractors are the passages of both."""
    concepts = {"validation": texts.validation_concepts, "test": texts.test_concepts}[split]
    searches = {"validation": texts.validation_searches, "test": texts.test_searches}[split]
    messages = {"validation": texts.validation_messages, "test": texts.test_messages}[split]
    distractors = texts.validation_concepts + texts.test_concepts
    others = texts.validation_searches + texts.test_searches
    return Corpus(concepts, searches, messages, texts.test_code, distractors, others)


def filled_up(chosen: list[str], documents: list[str], positive: str, rng: random.Random) -> list:
    """Nine different wrong documents: the chosen ones, then random ones, no near duplicates."""
    candidates = chosen + rng.sample(documents, min(len(documents), 60))
    wrong: list[str] = []
    for document in candidates:
        if len(wrong) == NEGATIVES:
            break
        if document not in wrong and bm25.overlap(document, positive) < NEAR_DUPLICATE:
            wrong.append(document)
    return wrong


def concept_groups(corpus: Corpus, query_language: str, language: str, hard: bool) -> list[Group]:
    """One group per held-out concept."""
    return asked_groups(corpus.concepts, corpus.distractors, query_language, language, hard)


def search_groups(corpus: Corpus, query_language: str, language: str, hard: bool) -> list[Group]:
    """One group per held-out search."""
    return asked_groups(corpus.searches, corpus.search_distractors, query_language, language, hard)


def asked_groups(
    asked: Sequence[Concept | Search],
    distractors: Sequence[Concept | Search],
    query_language: str,
    language: str,
    hard: bool,
) -> list[Group]:
    """Queries in one language, passages in the same or the other one."""
    rng = random.Random(f"{query_language} {language} {hard}")
    documents = [getattr(c, f"{language}_passage") for c in distractors]
    index = bm25.Index(documents)
    groups = []
    for concept in asked:
        query = getattr(concept, f"{query_language}_query")
        positive = getattr(concept, f"{language}_passage")
        sought = getattr(concept, f"{language}_query")
        similar = [documents[i] for i in index.best(sought, 15)] if hard else []
        wrong = filled_up([d for d in similar if d != positive], documents, positive, rng)
        groups.append(Group(query, [positive, *wrong], [2] + [0] * len(wrong)))
    return groups


def message_groups(corpus: Corpus, source: str, target: str) -> list[Group]:
    """Messages of programs and their translations."""
    rng = random.Random(f"messages {source} {target}")
    usable = [m for m in corpus.messages if len(m.zh) >= 6 and len(m.en) >= 10]
    documents = [getattr(m, target) for m in usable]
    groups = []
    for message in rng.sample(usable, min(GROUPS_OF_MESSAGES, len(usable))):
        positive = getattr(message, target)
        wrong = filled_up([], [d for d in documents if d != positive], positive, rng)
        groups.append(Group(getattr(message, source), [positive, *wrong], [2] + [0] * len(wrong)))
    return groups


def long_groups(corpus: Corpus, language: str) -> list[Group]:
    """Searches, with every document between unrelated passages."""
    rng = random.Random(f"long {language}")
    passages = [getattr(c, f"{language}_passage") for c in corpus.distractors]
    joint = "" if language == "zh" else " "
    groups = []
    for group in search_groups(corpus, language, language, hard=False)[:GROUPS_OF_LONG_DOCUMENTS]:
        right = group.documents[0]
        others = [p for p in passages if p != right]
        documents = []
        for document in group.documents:
            parts = rng.sample(others, FILLER_PASSAGES)
            parts.insert(rng.randint(0, FILLER_PASSAGES), document)
            documents.append(joint.join(parts))
        groups.append(Group(group.query, documents, group.grades))
    return groups


def instruction_groups(corpus: Corpus, aim: str, wordings: tuple[str, ...]) -> list[Group]:
    """Right answers in both languages, four wrong ones in each; grades say which is wanted."""
    rng = random.Random(aim)
    groups = []
    for number, concept in enumerate(corpus.searches[:GROUPS_OF_INSTRUCTIONS]):
        others = rng.sample([c for c in corpus.search_distractors if c != concept], 8)
        wrong = [c.zh_passage for c in others[:4]] + [c.en_passage for c in others[4:]]
        grades = [2, 1] if aim == instructions.PREFER_CHINESE else [1, 2]
        query = concept.zh_query if number % 2 else concept.en_query
        documents = [concept.zh_passage, concept.en_passage, *wrong]
        wording = wordings[number % len(wordings)]
        groups.append(Group(query, documents, grades + [0] * len(wrong), wording))
    return groups


def code_groups(corpus: Corpus, wordings: tuple[str, ...]) -> list[Group]:
    """Code and prose about one held-out task, beside code and prose about others."""
    rng = random.Random("code")
    groups = []
    for number, item in enumerate(corpus.code):
        others = rng.sample([c for c in corpus.code if c != item], 8)
        wrong = [c.code for c in others[:4]] + [c.prose for c in others[4:]]
        query = item.zh_query if number % 2 else item.en_query
        wording = wordings[number % len(wordings)]
        groups.append(Group(query, [item.code, item.prose, *wrong], [2, 1] + [0] * 8, wording))
    return groups


def sanity_groups() -> list[Group]:
    """The course-like samples."""
    groups = []
    for sample in read_sanity():
        grades = [2 if i == sample["best"] else 0 for i in range(len(sample["documents"]))]
        groups.append(Group(sample["query"], sample["documents"], grades))
    return groups


class Scorer:
    """Yes-minus-no differences of a model for groups, each group packed into one sequence."""

    def __init__(self, model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer

    def __call__(self, groups: list[Group]) -> list[np.ndarray]:
        packed = [packing.pack(group, self.tokenizer) for group in groups]
        scores: list[np.ndarray] = []
        while packed:
            count = 1
            while count < len(packed) and sum(p.tokens for p in packed[:count]) < TOKENS_PER_PASS:
                count += 1
            with torch.no_grad():
                values, _ = packing.differences(self.model, packed[:count], self.tokenizer)
            scores += [value.numpy() for value in values]
            packed = packed[count:]
        return scores


def whole_prompt_scores(model: Qwen3ForCausalLM, tokenizer: Tokenizer, group: Group) -> np.ndarray:
    """The same differences prompt by prompt, as a server computes them."""
    yes, no = tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")
    values = []
    for document in group.documents:
        ids = tokenizer.encode(prompt.full(group.query, document, group.instruction)).ids
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        values.append(float(logits[yes] - logits[no]))
    return np.array(values)


def bm25_scores(groups: list[Group]) -> list[np.ndarray]:
    """BM25 with the statistics of each group's own documents together."""
    index = bm25.Index([document for group in groups for document in group.documents])
    ends = np.cumsum([len(group.documents) for group in groups])
    starts = np.concatenate([[0], ends[:-1]])
    return [index.scores(g.query)[a:b] for g, a, b in zip(groups, starts, ends, strict=True)]


def ranking_figures(groups: list[Group], scores: list[np.ndarray]) -> dict[str, float]:
    """MRR@10 and the share of groups whose best document is the right one; ties count against."""
    ranks = []
    for group, values in zip(groups, scores, strict=True):
        right = group.grades.index(2)
        others = np.delete(values, right)
        ranks.append(1 + int((others >= values[right]).sum()))
    return {
        "groups": len(groups),
        "mrr_at_10": round(float(np.mean([1 / r if r <= 10 else 0.0 for r in ranks])), 3),
        "top_1": round(float(np.mean([r == 1 for r in ranks])), 3),
    }


def instruction_figures(groups: list[Group], scores: list[np.ndarray]) -> dict[str, float]:
    """How often the wanted form beats the other form, and both beat everything irrelevant."""
    wanted_first, relevant_first, wanted_on_top = [], [], []
    for group, values in zip(groups, scores, strict=True):
        grades = np.array(group.grades)
        wanted, other = values[grades == 2][0], values[grades == 1][0]
        wrong = values[grades == 0].max()
        wanted_first.append(wanted > other)
        relevant_first.append(min(wanted, other) > wrong)
        wanted_on_top.append(wanted > max(other, wrong))
    return {
        "groups": len(groups),
        "wanted_before_other_form": round(float(np.mean(wanted_first)), 3),
        "wanted_on_top": round(float(np.mean(wanted_on_top)), 3),
        "both_forms_before_irrelevant": round(float(np.mean(relevant_first)), 3),
    }


def score_levels(groups: list[Group], scores: list[np.ndarray]) -> dict[str, float]:
    """Mean score, as served (between 0 and 1), of right and of wrong documents."""
    served = [1 / (1 + np.exp(-values)) for values in scores]
    right = [v for g, s in zip(groups, served, strict=True) for v in s[np.array(g.grades) == 2]]
    wrong = [v for g, s in zip(groups, served, strict=True) for v in s[np.array(g.grades) == 0]]
    return {
        "mean_score_right": round(float(np.mean(right)), 3),
        "mean_score_wrong": round(float(np.mean(wrong)), 3),
    }


def quick_figures(texts: Texts, split: str, score: Score) -> dict[str, float]:
    """Top-1 of a few sets and of the sanity samples, for looking at while training."""
    corpus = corpus_of(texts, split)
    sets = {"sanity": sanity_groups()}
    for name, (source, target) in DIRECTIONS.items():
        sets[f"searches {name}"] = search_groups(corpus, source, target, False)
        sets[f"paraphrases {name}"] = concept_groups(corpus, source, target, False)[:QUICK_GROUPS]
        if source != target:
            sets[f"messages {name}"] = message_groups(corpus, source, target)[:QUICK_GROUPS]
    return {name: ranking_figures(g, score(g))["top_1"] for name, g in sets.items()}


def all_figures(texts: Texts, split: str, score: Score) -> dict:
    """Everything that the model card shows, for one split."""
    corpus = corpus_of(texts, split)
    sets: dict[str, list[Group]] = {}
    for kind, make in (("searches", search_groups), ("paraphrases", concept_groups)):
        for name, (source, target) in DIRECTIONS.items():
            sets[f"{kind}, {name}, random negatives"] = make(corpus, source, target, False)
            sets[f"{kind}, {name}, hard negatives"] = make(corpus, source, target, True)
    for language in ("zh", "en"):
        groups = keyword_sets.keyword_groups(corpus.concepts, corpus.distractors, language)
        sets[f"keywords, {language}, random negatives"] = groups
    for source, target in (("zh", "en"), ("en", "zh")):
        groups = keyword_sets.translation_groups(
            corpus.concepts, corpus.distractors, source, target
        )
        sets[f"passages, {source} to {target}, random negatives"] = groups
    sets["messages, zh to en, random negatives"] = message_groups(corpus, "zh", "en")
    sets["messages, en to zh, random negatives"] = message_groups(corpus, "en", "zh")
    for language in ("zh", "en"):
        sets[f"long documents, {language}"] = long_groups(corpus, language)
    rankings = {}
    for name, groups in sets.items():
        scores = score(groups)
        rankings[name] = {
            "model": ranking_figures(groups, scores) | score_levels(groups, scores),
            "bm25": ranking_figures(groups, bm25_scores(groups)),
        }
    followed = {}
    for aim, wordings in instructions.HELD_OUT.items():
        for kind, chosen in (("trained", instructions.TRAINED[aim]), ("new", wordings)):
            groups = (
                code_groups(corpus, chosen)
                if aim == instructions.PREFER_CODE
                else instruction_groups(corpus, aim, chosen)
            )
            followed[f"{aim}, {kind} wordings"] = instruction_figures(groups, score(groups))
    groups = sanity_groups()
    first = [
        int(np.argmax(v)) == g.grades.index(2) for g, v in zip(groups, score(groups), strict=True)
    ]
    failures = [g.query for g, ok in zip(groups, first, strict=True) if not ok]
    sanity = {"samples": len(groups), "best_first": sum(first), "failures": failures}
    return {"split": split, "rankings": rankings, "instructions": followed, "sanity": sanity}


def load_model(folder: Path) -> Qwen3ForCausalLM:
    """The shipped weights in fp32, for scoring."""
    return Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
