"""Makes training groups: one query with some documents, each with a grade.

Grade 2 is what should come first, 0 what is irrelevant; only evaluation.py knows a grade between.
Every group is made from training texts only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from . import bm25, instructions, prompt
from .sources import HAN
from .texts import Concept, Texts

NEGATIVES = 5
NEGATIVES_BESIDE_LONG_DOCUMENTS = 3
LONG_SHARE = 0.15
NEAR_DUPLICATE = 0.5
HARD_CANDIDATES = 14
NEIGHBOUR_LINES = 6


@dataclass(frozen=True)
class Group:
    """A query, its documents with their grades, and the instruction."""

    query: str
    documents: list[str]
    grades: list[int]
    instruction: str = prompt.DEFAULT_INSTRUCTION


class Pool:
    """A list of texts that finds hard negatives for one of them."""

    def __init__(self, documents: list[str]) -> None:
        self.documents = documents
        self.index = bm25.Index(documents)
        self.known: dict[tuple[str, int], list[int]] = {}

    def hard_negatives(self, query: str, positive: int) -> list[int]:
        """Documents that share words with the query and do not say the same as the positive."""
        key = (query, positive)
        if key not in self.known:
            self.known[key] = [
                i
                for i in self.index.best(query, HARD_CANDIDATES)
                if i != positive
                and bm25.overlap(self.documents[i], self.documents[positive]) < NEAR_DUPLICATE
            ]
        return self.known[key]


ZH_QUERIES = (
    "{}",
    "{}推荐",
    "关于{}的内容",
    "如何选择{}",
    "{}怎么办",
    "想了解{}",
    "有没有{}和{}",
    "{}、{}",
)
EN_QUERIES = ("{}", "best {}", "what is {}", "{} and {}", "about {}", "{} problem", "tips for {}")
ZH_TOPIC_TEXTS = (
    "这是一篇介绍{}、{}和{}的文章。",
    "以{}为主，搭配{}，突出{}。",
    "我们提供{}与{}服务，{}也很受欢迎。",
    "本文讲解{}，包括{}以及{}。",
    "画面中有{}和{}，整体体现{}。",
)
EN_TOPIC_TEXTS = (
    "This article is about {}, {} and {}.",
    "It combines {} with {} for better {}.",
    "We offer {}, {} and {}.",
    "A guide to {}: {} and {}.",
)


COMMON_WORDS = frozenset(
    "the and for with you your are that this from can will not but its has have was were into when "
    "them they then than it's all any one two out off over under after before while which who how "
    "what where why each every only also been being more most some such very use used using let "
    "make makes made may must should would could does did don't too per via".split()
)


class GroupMaker:
    """Draws training groups of many kinds from the training texts with one seeded generator."""

    def __init__(self, texts: Texts, seed: int) -> None:
        self.random = random.Random(seed)
        self.texts = texts
        self.concepts = texts.train_concepts
        self.position = {concept: i for i, concept in enumerate(self.concepts)}
        self.passages = {
            language: Pool([getattr(c, f"{language}_passage") for c in self.concepts])
            for language in ("zh", "en")
        }
        self.messages = [m for m in texts.train_messages if len(m.zh) >= 4 and len(m.en) >= 6]
        self.message_sides = {
            language: Pool([getattr(m, language)[:220] for m in self.messages])
            for language in ("zh", "en")
        }
        self.docstring_bodies = Pool([item.body[:300] for item in texts.docstrings])
        self.zh_sentences = [m.zh for m in self.messages if len(HAN.findall(m.zh)) >= 9]
        self.zh_sentences += self.passages["zh"].documents * 2
        self.words = texts.glossary + [((pair.zh,), (pair.en,)) for pair in texts.names]
        self.zh_words = {word for zh, _ in texts.glossary for word in zh if len(word) > 1}
        self.topics = [topic for topic in texts.topics if len(topic.words) >= 6]
        self.kinds: dict[Callable[[], Group], float] = {
            self.concept: 0.20,
            self.search: 0.06,
            self.passage_to_passage: 0.07,
            self.keywords: 0.12,
            self.word: 0.07,
            self.word_in_text: 0.13,
            self.message: 0.17,
            self.topic: 0.03,
            self.span_of_passage: 0.08,
            self.chinese_phrase: 0.03,
            self.docstring: 0.03,
            self.code: 0.01,
        }

    def group(self) -> Group:
        """One group of a random kind, sometimes with long documents."""
        make = self.random.choices(list(self.kinds), list(self.kinds.values()))[0]
        group = make()
        if self.random.random() < LONG_SHARE and max(map(len, group.documents)) < 400:
            group = self.lengthened(group)
        return group

    # How negatives are chosen

    def others(self, size: int, positive: int, hard: list[int], hard_share: float) -> list[int]:
        """Indices of negatives: hard ones with the given share, the rest at random."""
        hard = self.random.sample(hard, len(hard))
        chosen: list[int] = []
        while len(chosen) < NEGATIVES:
            take_hard = hard and self.random.random() < hard_share
            candidate = hard.pop() if take_hard else self.random.randrange(size)
            if candidate != positive and candidate not in chosen:
                chosen.append(candidate)
        return chosen

    def neighbours(self, concept: Concept) -> list[int]:
        """Concepts written next to this one: the same sub-topic, another answer."""
        position = self.position[concept]
        near = range(
            max(0, position - NEIGHBOUR_LINES),
            min(len(self.concepts), position + NEIGHBOUR_LINES + 1),
        )
        return [i for i in near if i != position and self.concepts[i].file == concept.file]

    def concept_negatives(self, concept: Concept, query: str, language: str) -> list[int]:
        """Negatives for a concept: neighbours, texts with the same words, and random ones."""
        position = self.position[concept]
        hard = list(self.passages[language].hard_negatives(query, position))
        hard += self.random.sample(
            self.neighbours(concept), k=min(4, len(self.neighbours(concept)))
        )
        return self.others(len(self.concepts), position, hard, hard_share=0.45)

    # Kinds of groups

    def query_of(self, concept: Concept) -> str:
        """A search for the concept in either language: mostly a query, sometimes its name."""
        field = self.random.choices(
            ("zh_query", "en_query", "zh_term", "en_term"), (0.41, 0.41, 0.09, 0.09)
        )[0]
        query = getattr(concept, field)
        return query if self.random.random() < 0.7 else query.lower().rstrip("?？")

    def concept(self) -> Group:
        """A query and passages, in the same language or the other one."""
        concept = self.random.choice(self.concepts)
        query = self.query_of(concept)
        own = "zh" if HAN.search(query) else "en"
        other = "en" if own == "zh" else "zh"
        language = own if self.random.random() < 0.5 else other
        negatives = self.concept_negatives(concept, query, language)
        mixed = self.random.random() < 0.2
        documents = [getattr(concept, f"{language}_passage")]
        for i in negatives:
            chosen = self.random.choice(("zh", "en")) if mixed else language
            documents.append(getattr(self.concepts[i], f"{chosen}_passage"))
        return self.graded(query, documents)

    def passage_to_passage(self) -> Group:
        """A passage and its counterpart in the other language."""
        concept = self.random.choice(self.concepts)
        source, target = self.random.sample(("zh", "en"), 2)
        query = getattr(concept, f"{source}_passage")
        negatives = self.concept_negatives(concept, query, target)
        documents = [getattr(self.concepts[i], f"{target}_passage") for i in negatives]
        return self.graded(query, [getattr(concept, f"{target}_passage"), *documents])

    def search(self) -> Group:
        """A search and passages, in the same language or the other one."""
        right, *rest = self.random.sample(self.texts.train_searches, 3)
        source, target = (self.random.choice(("zh", "en")) for _ in range(2))
        query = getattr(right, f"{source}_query")
        passages = self.passages[target].documents
        others = [getattr(other, f"{target}_passage") for other in rest]
        others += self.random.sample(passages, NEGATIVES - len(others))
        return self.graded(query, [getattr(right, f"{target}_passage"), *others])

    def keywords(self) -> Group:
        """A few words of a text, and the text in the other language (at times in the same)."""
        source, target = self.random.choice(
            (("zh", "en"), ("en", "zh"), ("zh", "en"), ("en", "zh"), ("zh", "zh"), ("en", "en"))
        )
        if self.random.random() < 0.4:
            sides, position = self.message_sides, self.random.randrange(len(self.messages))
        else:
            sides, position = self.passages, self.random.randrange(len(self.concepts))
        query = self.some_words(sides[source].documents[position], source)
        pool = sides[target].documents
        hard = sides[source].hard_negatives(query, position)
        hard = [i for i in hard if bm25.overlap(pool[i], pool[position]) < NEAR_DUPLICATE]
        negatives = self.others(len(pool), position, hard, hard_share=0.3)
        return self.graded(query, [pool[position], *(pool[i] for i in negatives)])

    def some_words(self, text: str, language: str) -> str:
        """One to five of the text's words that say something, in their order."""
        if language == "zh":
            words, start = [], 0
            while start < len(text) - 1:
                ends = [n for n in (4, 3, 2) if text[start : start + n] in self.zh_words]
                if ends:
                    words.append(text[start : start + ends[0]])
                start += ends[0] if ends else 1
        else:
            words = [w for w in re.findall(r"[A-Za-z]{3,}", text) if w.lower() not in COMMON_WORDS]
        if not words:
            return text
        count = min(len(words), self.random.choice((1, 2, 2, 3, 3, 4, 5)))
        chosen = sorted(self.random.sample(range(len(words)), count))
        joint = self.random.choice(("", " ", "")) if language == "zh" else " "
        return joint.join(words[i] for i in chosen)

    def word_in_text(self) -> Group:
        """Words of the dictionary, and a passage into which their translations were put."""
        count = self.random.choice((1, 2, 2, 3))
        source, target = self.random.choice(((0, 1), (1, 0), (0, 1), (1, 0), (0, 0), (1, 1)))
        entries = self.random.sample(self.words, count)
        query = (" " if source else "").join(self.random.choice(e[source]) for e in entries)
        if count == 1 and self.random.random() < 0.5:
            templates = [t for t in (EN_QUERIES if source else ZH_QUERIES) if t.count("{}") == 1]
            query = self.random.choice(templates).format(query)
        language = "en" if target else "zh"
        passages = self.random.sample(self.passages[language].documents, NEGATIVES + 1)
        documents = []
        for number, passage in enumerate(passages):
            put = entries if number == 0 else self.random.sample(self.words, count)
            if number == 1 and count > 1:
                put = [entries[0], *put[1:]]
            documents.append(self.with_words(passage, [self.random.choice(e[target]) for e in put]))
        return self.graded(query, documents)

    def with_words(self, passage: str, words: list[str]) -> str:
        """The passage with words put in: between English words, at Chinese punctuation."""
        if HAN.search(passage):
            parts, joint = re.split("(?<=[，。；：、])", passage), ""
        else:
            parts, joint = passage.split(), " "
        for word in words:
            parts.insert(self.random.randint(0, len(parts)), word)
        return joint.join(parts)

    def word(self) -> Group:
        """A few words and a list that holds their translations or synonyms."""
        count = self.random.choice((1, 1, 2, 3))
        source, target = self.random.choice(((0, 1), (1, 0), (0, 0), (1, 1)))
        entries = self.random.sample(self.words, count)
        if source == target and any(len(entry[source]) < 2 for entry in entries):
            target = 1 - source
        queries, answers = [], []
        for entry in entries:
            query = self.random.choice(entry[source])
            queries.append(query)
            answers.append(self.random.choice([w for w in entry[target] if w != query] or [query]))
        documents = [answers]
        for _ in range(NEGATIVES):
            documents.append([self.random.choice(self.random.choice(self.words)[target])])
            while len(documents[-1]) < count:
                documents[-1].append(self.random.choice(self.random.choice(self.words)[target]))
        joints = ("、" if source == 0 else ", ", "、" if target == 0 else ", ")
        extra = self.random.choice((0, 0, 1, 2))
        for words in documents:
            words += [
                self.random.choice(self.random.choice(self.words)[target]) for _ in range(extra)
            ]
            self.random.shuffle(words)
        return self.graded(joints[0].join(queries), [joints[1].join(words) for words in documents])

    def message(self) -> Group:
        """A message of a program and its translation."""
        position = self.random.randrange(len(self.messages))
        source, target = self.random.sample(("zh", "en"), 2)
        sides = self.message_sides
        own_target = sides[target].documents[position]
        hard = sides[source].hard_negatives(sides[source].documents[position], position)
        hard = [i for i in hard if bm25.overlap(sides[target].documents[i], own_target) < 0.5]
        negatives = self.others(len(self.messages), position, hard, hard_share=0.35)
        documents = [sides[target].documents[i] for i in negatives]
        return self.graded(sides[source].documents[position], [own_target, *documents])

    def topic(self) -> Group:
        """Words of one topic and a sentence made of other words of the same topic."""
        topic, *rest = self.random.sample(self.topics, NEGATIVES + 1)
        words = self.random.sample(topic.words, len(topic.words))
        third = len(words) // 3
        asked, told = words[:third], words[third:] + words[: self.random.choice((0, 1, 2))]
        query_side, target_side = self.random.choice(((0, 0), (0, 0), (1, 1), (0, 1), (1, 0)))
        templates = EN_TOPIC_TEXTS if target_side else ZH_TOPIC_TEXTS
        query = self.filled(EN_QUERIES if query_side else ZH_QUERIES, asked, query_side)
        documents = [self.filled(templates, told, target_side)]
        documents += [self.filled(templates, list(t.words), target_side) for t in rest]
        return self.graded(query, documents)

    def filled(self, templates: tuple[str, ...], words: list, side: int) -> str:
        """One of the templates with random words in its gaps."""
        template = self.random.choice(templates)
        return template.format(
            *(self.random.choice(words)[side] for _ in range(template.count("{}")))
        )

    def span_of_passage(self) -> Group:
        """A few words taken from a passage, sometimes removed from it, and similar passages."""
        language = self.random.choice(("zh", "en"))
        kind = self.random.choice(("concept", "concept", "message", "docstring"))
        pool = self.passages[language]
        if kind == "message":
            pool = self.message_sides[language]
        if kind == "docstring":
            pool, language = self.docstring_bodies, "en"
        position = self.random.randrange(len(pool.documents))
        passage = pool.documents[position]
        query, rest = self.taken_span(passage, language)
        hard = [i for i in pool.hard_negatives(query, position) if query not in pool.documents[i]]
        negatives = self.others(len(pool.documents), position, hard, hard_share=0.5)
        positive = rest if rest and self.random.random() < 0.25 else passage
        return self.graded(query, [positive, *(pool.documents[i] for i in negatives)])

    def taken_span(self, passage: str, language: str) -> tuple[str, str]:
        """A span of the passage and the passage without it."""
        if language == "zh":
            length = self.random.randint(3, 9)
            start = self.random.randint(0, max(0, len(passage) - length))
            return passage[start : start + length], passage[:start] + passage[start + length :]
        words = passage.split()
        length = self.random.randint(1, 6)
        start = self.random.randint(0, max(0, len(words) - length))
        span = words[start : start + length]
        if self.random.random() < 0.5:
            span = [re.sub(r"\W+$", "", word).lower() for word in span]
        return " ".join(span) or passage, " ".join(words[:start] + words[start + length :])

    def chinese_phrase(self) -> Group:
        """An exact Chinese phrase; the distractors hold its characters, but not the phrase."""
        while True:
            sentence = self.random.choice(self.zh_sentences)
            runs = re.findall("[\u4e00-\u9fff]{5,}", sentence)
            if runs:
                break
        run = max(runs, key=len)
        length = self.random.randint(2, 4)
        start = self.random.randint(0, len(run) - length)
        phrase = run[start : start + length]
        documents = [sentence]
        for number in range(NEGATIVES):
            other = self.random.choice(self.zh_sentences)
            while phrase in other:
                other = self.random.choice(self.zh_sentences)
            documents.append(self.with_scattered(other, phrase) if number < 3 else other)
        return self.graded(phrase, documents)

    def with_scattered(self, sentence: str, phrase: str) -> str:
        """The sentence with most of the phrase's characters strewn in, apart from each other."""
        characters = list(sentence)
        for character in self.random.sample(phrase, max(1, len(phrase) - 1)):
            characters.insert(self.random.randint(0, len(characters)), character)
        mixed = "".join(characters)
        return mixed if phrase not in mixed else sentence

    def docstring(self) -> Group:
        """The first sentence of a docstring and its body."""
        pool = self.docstring_bodies
        position = self.random.randrange(len(pool.documents))
        head = self.texts.docstrings[position].head
        negatives = self.others(
            len(pool.documents), position, pool.hard_negatives(head, position), 0.4
        )
        documents = [pool.documents[i] for i in [position, *negatives]]
        return self.graded(head, documents)

    def code(self) -> Group:
        """A task, and code or prose that solves it."""
        item, *others = self.random.sample(self.texts.train_code, NEGATIVES + 1)
        query = self.random.choice((item.zh_query, item.en_query))
        documents = [self.random.choice((i.code, i.prose)) for i in (item, *others)]
        return self.graded(query, documents)

    # Finishing touches

    def graded(self, query: str, documents: list[str]) -> Group:
        """A group whose first document is the only relevant one, under a neutral instruction."""
        grades = [2] + [0] * (len(documents) - 1)
        wording = self.random.choice(instructions.TRAINED[instructions.DEFAULT])
        return Group(query, documents, grades, wording)

    def lengthened(self, group: Group) -> Group:
        """The same group with every document inside text about something else."""
        kept = self.random.sample(range(1, len(group.documents)), NEGATIVES_BESIDE_LONG_DOCUMENTS)
        kept = [0, *sorted(kept)]
        longest = self.random.choice((120, 250, 500, 1000, 1800))
        documents = [self.inside_filler(group.documents[i], longest) for i in kept]
        grades = [group.grades[i] for i in kept]
        return Group(group.query, documents, grades, group.instruction)

    def inside_filler(self, document: str, longest_characters: int) -> str:
        """The document with unrelated passages before and after it."""
        language = "zh" if HAN.search(document) else "en"
        wanted = self.random.randint(0, longest_characters // (3 if language == "zh" else 1))
        passages, length = [], 0
        while length < wanted:
            passages.append(self.random.choice(self.passages[language].documents))
            length += len(passages[-1])
        place = self.random.randint(0, len(passages))
        joint = "" if language == "zh" else " "
        return joint.join([*passages[:place], document, *passages[place:]])
