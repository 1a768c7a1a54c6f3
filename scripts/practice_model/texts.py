"""Reads the project's own training texts and decides which texts may be trained on.

Everything is split before anything is learnt, tokenizer and embeddings included:
"test" is measured once at the end, "validation" serves choices, "train" is all the rest.
The split follows a hash of the English side, so adding a line moves no other line.
Held out are sentences: queries, passages, messages. Words are not: the dictionary (glossary,
topics, the names of all concepts) is learnt whole, as a person who searches knows the words.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import sources
from .sources import Docstring, Pair

DATA_FOLDER = Path(__file__).resolve().parents[1] / "practice_data"
# Percent of the lines in test and in validation.
CONCEPT_PERCENT = (8, 8)
MESSAGE_PERCENT = (5, 5)
CODE_PERCENT = (15, 0)
SEARCH_PERCENT = (60, 20)


@dataclass(frozen=True)
class Concept:
    """One idea: its name, a search for it and a passage that answers, all in both languages."""

    file: str
    line: int
    zh_term: str
    en_term: str
    zh_query: str
    en_query: str
    zh_passage: str
    en_passage: str

    def texts(self) -> tuple[str, ...]:
        """The sentences (not the terms) that must not leak from one split into another."""
        return self.zh_query, self.en_query, self.zh_passage, self.en_passage


@dataclass(frozen=True)
class Search:
    """What somebody types and a passage that answers it in ordinary words, in both languages."""

    zh_query: str
    en_query: str
    zh_passage: str
    en_passage: str

    def texts(self) -> tuple[str, ...]:
        """All of it must not leak from one split into another."""
        return self.zh_query, self.en_query, self.zh_passage, self.en_passage


@dataclass(frozen=True)
class CodeItem:
    """A task, the code that solves it, and prose about it."""

    zh_query: str
    en_query: str
    code: str
    prose: str


@dataclass(frozen=True)
class Topic:
    """A named set of words that belong together, each in both languages."""

    name: str
    words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Texts:
    """All texts by use; learnt from is what is under `train_*`, and all that is not split."""

    train_concepts: list[Concept]
    validation_concepts: list[Concept]
    test_concepts: list[Concept]
    train_searches: list[Search]
    validation_searches: list[Search]
    test_searches: list[Search]
    train_messages: list[Pair]
    validation_messages: list[Pair]
    test_messages: list[Pair]
    docstrings: list[Docstring]
    glossary: list[tuple[tuple[str, ...], tuple[str, ...]]]
    names: list[Pair]
    topics: list[Topic]
    train_code: list[CodeItem]
    test_code: list[CodeItem]
    counts: dict[str, int]


def normal_form(text: str) -> str:
    """What counts as the same text: case, spaces and punctuation do not matter."""
    return re.sub(r"[\W_]+", "", text.lower())


def split_of(key: str, percent: tuple[int, int]) -> str:
    """train, validation or test, decided by the key alone; the percent of test and validation."""
    bucket = int(hashlib.sha256(normal_form(key).encode()).hexdigest(), 16) % 100
    if bucket < percent[0]:
        return "test"
    return "validation" if bucket < sum(percent) else "train"


def read_concepts() -> list[Concept]:
    """Every line of concepts/*.tsv; a line with the wrong number of columns is an error."""
    concepts = []
    for path in sorted((DATA_FOLDER / "concepts").glob("*.tsv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            columns = [column.strip() for column in line.split("\t")]
            if len(columns) != 6 or not all(columns):
                raise ValueError(f"{path.name} line {number}: 6 filled columns expected")
            concepts.append(Concept(path.stem, number, *columns))
    return concepts


def read_searches() -> list[Search]:
    """Every line of searches/*.tsv; a line with the wrong number of columns is an error."""
    searches = []
    for path in sorted((DATA_FOLDER / "searches").glob("*.tsv")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            columns = [column.strip() for column in line.split("\t")]
            if len(columns) != 4 or not all(columns):
                raise ValueError(f"{path.name} line {number}: 4 filled columns expected")
            searches.append(Search(*columns))
    return searches


def read_glossary() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Every `zh/zh=en/en` line of glossary/*.txt as (Chinese synonyms, English synonyms)."""
    entries = []
    for path in sorted((DATA_FOLDER / "glossary").glob("*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.count("=") == 1:
                zh, en = line.split("=")
                sides = [
                    tuple(w.strip() for w in side.split("/") if w.strip()) for side in (zh, en)
                ]
                if all(sides):
                    entries.append(tuple(sides))
    return entries


def read_topics() -> list[Topic]:
    """Every `name: zh=en; zh=en` line of topics.txt."""
    topics = []
    for line in (DATA_FOLDER / "topics.txt").read_text(encoding="utf-8").splitlines():
        if line.strip():
            name, words = line.split(": ", 1)
            pairs = tuple(tuple(side.strip() for side in w.split("=")) for w in words.split(";"))
            topics.append(Topic(name, pairs))
    return topics


def read_code() -> list[CodeItem]:
    """Every line of code.tsv; `\\n` in the code column stands for a line break."""
    path = DATA_FOLDER / "code.tsv"
    items = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        columns = line.split("\t")
        if len(columns) >= 4:
            zh_query, en_query, code, prose = columns[:4]
            items.append(CodeItem(zh_query, en_query, code.replace("\\n", "\n"), prose))
    return items


def read_sanity() -> list[dict]:
    """The course-like samples that are never trained on: query, documents, best (an index)."""
    return json.loads((DATA_FOLDER / "sanity.json").read_text(encoding="utf-8"))


def kept_out_texts(items: list[Concept | Search], messages: list[Pair]) -> set[str]:
    """Normal forms of all held-out sentences, and of all sanity samples."""
    forbidden = {normal_form(text) for item in items for text in item.texts()}
    forbidden |= {normal_form(side) for pair in messages for side in (pair.zh, pair.en)}
    for sample in read_sanity():
        forbidden |= {normal_form(text) for text in [sample["query"], *sample["documents"]]}
    return forbidden


def split_concepts(concepts: list[Concept]) -> dict[str, list[Concept]]:
    """Concepts by split; a training concept that shares a term with a held-out one is dropped."""
    parts: dict[str, list[Concept]] = {"train": [], "validation": [], "test": []}
    for concept in concepts:
        parts[split_of(concept.en_term, CONCEPT_PERCENT)].append(concept)
    held_out = parts["validation"] + parts["test"]
    terms = {normal_form(t) for concept in held_out for t in (concept.zh_term, concept.en_term)}
    parts["train"] = [
        concept
        for concept in parts["train"]
        if normal_form(concept.zh_term) not in terms and normal_form(concept.en_term) not in terms
    ]
    return parts


def split_by(items: list, key: Callable[[Any], str], percent: tuple[int, int]) -> dict[str, list]:
    """Items by split, after a text of each."""
    parts: dict[str, list] = {"train": [], "validation": [], "test": []}
    for item in items:
        parts[split_of(key(item), percent)].append(item)
    return parts


def terms_of(concepts: dict[str, list[Concept]]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The names of all concepts, held out or not, as lines of the dictionary."""
    return [((c.zh_term,), (c.en_term,)) for part in concepts.values() for c in part]


def load_third_party(cache_file: Path) -> dict:
    """The third-party texts, read from the archives once and then from a JSON file."""
    kinds = {"messages": Pair, "names": Pair, "docstrings": Docstring}
    if not cache_file.exists():
        everything = sources.read_everything()
        rows = {k: [list(vars(item).values()) for item in v] for k, v in everything.items()}
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        cache_file.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    rows = json.loads(cache_file.read_text(encoding="utf-8"))
    return {kind: [make(*row) for row in rows[kind]] for kind, make in kinds.items()}


def load_texts(cache_file: Path | None) -> Texts:
    """Everything, split and with held-out sentences and terms removed from what is learnt from.

    Without a cache file only the project's own texts are read, which needs no download.
    """
    nothing: dict = {"messages": [], "names": [], "docstrings": []}
    third_party = load_third_party(cache_file) if cache_file else nothing
    concepts = split_concepts(read_concepts())
    messages = split_by(third_party["messages"], lambda pair: pair.en, MESSAGE_PERCENT)
    searches = split_by(read_searches(), lambda search: search.en_query, SEARCH_PERCENT)
    code = split_by(read_code(), lambda item: item.en_query, CODE_PERCENT)
    held_out = concepts["validation"] + concepts["test"]
    held_out += searches["validation"] + searches["test"]
    forbidden = kept_out_texts(held_out, messages["validation"] + messages["test"])
    sentences = kept_out_texts(held_out, [])

    def allowed(*sides: str) -> bool:
        return not any(normal_form(side) in forbidden for side in sides)

    def may_be_a_word(*sides: str) -> bool:
        return not any(normal_form(side) in sentences for side in sides)

    glossary = [*read_glossary(), *terms_of(concepts)]
    glossary = [(zh, en) for zh, en in glossary if may_be_a_word(*zh, *en)]
    topics = [
        Topic(topic.name, tuple(pair for pair in topic.words if may_be_a_word(*pair)))
        for topic in read_topics()
    ]
    taught = {normal_form(word) for zh, en in glossary for word in (*zh, *en)}
    taught |= {normal_form(word) for t in topics for pair in t.words for word in pair}

    def untaught(pairs: list[Pair]) -> list[Pair]:
        """Held-out messages that are no word of the dictionary (some are single words)."""
        return [p for p in pairs if not {normal_form(p.zh), normal_form(p.en)} & taught]

    texts = Texts(
        train_concepts=[c for c in concepts["train"] if allowed(*c.texts())],
        validation_concepts=concepts["validation"],
        test_concepts=concepts["test"],
        train_searches=[item for item in searches["train"] if allowed(*item.texts())],
        validation_searches=searches["validation"],
        test_searches=searches["test"],
        train_messages=[pair for pair in messages["train"] if allowed(pair.zh, pair.en)],
        validation_messages=untaught(messages["validation"]),
        test_messages=untaught(messages["test"]),
        docstrings=[item for item in third_party["docstrings"] if allowed(item.head, item.body)],
        glossary=glossary,
        names=[pair for pair in third_party["names"] if allowed(pair.zh, pair.en)],
        topics=topics,
        train_code=code["train"],
        test_code=code["test"],
        counts={},
    )
    fields = {name: value for name, value in vars(texts).items() if isinstance(value, list)}
    texts.counts.update({name: len(value) for name, value in fields.items()})
    return texts


def training_sentences(texts: Texts) -> list[str]:
    """Every sentence, name and word that tokenizer, embeddings or model learn from."""
    own = texts.train_concepts + texts.train_searches
    sentences = [text for item in own for text in item.texts()]
    for pair in texts.train_messages + texts.names:
        sentences += [pair.zh, pair.en]
    for item in texts.docstrings:
        sentences += [item.head, item.body]
    for zh, en in texts.glossary:
        sentences += [*zh, *en]
    for topic in texts.topics:
        sentences += [side for pair in topic.words for side in pair]
    for item in texts.train_code:
        sentences += [item.zh_query, item.en_query, item.code, item.prose]
    return sentences
