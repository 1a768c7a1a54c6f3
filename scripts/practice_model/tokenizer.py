"""Trains the lossless byte-level BPE tokenizer and writes it in the form Transformers loads.

Pre-tokenisation is Qwen's, with three differences: Chinese is cut into known words and, where no
known word begins, into single characters; endings are cut off known English words, so that "panda"
and "pandas" share a token; and no Unicode normalisation is applied, so that decoding gives back
exactly what was encoded.
"""

from __future__ import annotations

import collections
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from . import prompt
from .sources import HAN
from .texts import Texts, training_sentences

VOCABULARY_SIZE = 16_128
LONGEST_PROMPT_TOKENS = 4096
SPECIAL_TOKENS = (
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
)
ADDED_TOKENS = (
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
# "<Query", "<Document" and "<Instruct" are ordinary pieces that this pre-tokenisation keeps
# together; they occur in the three lines of the body and not in the system turn, which makes them
# the markers that the hand-placed first weights look for (circuits.py).
MARKERS = ("<Instruct", "<Query", "<Document")
OTHER_PIECES = (
    "[\u4e00-\u9fff]"
    "|(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    "|[^\\r\\n\\p{L}\\p{N}]?(?:(?![\u4e00-\u9fff])\\p{L})+"
    "|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+"
    "|\\s+(?!\\S)"
    "|\\s+"
)
BYTE_PAIR_PIECES = 2_200
WORDS_WITHOUT_SPACE = 250
WORDS_WITH_CAPITAL = 900
CHINESE_WORDS = 3_600
ENDINGS = ("s", "es", "ed", "ing", "d", "ly")
LONGEST_CHINESE_WORD = 3  # longer ones are found by their parts
OWN_TEXT_WEIGHT = 10
DICTIONARY_WEIGHT = 30
PUNCTUATION = ("\n", "\n\n", ">:", ".\n", "?\n", "。\n", "？\n", *"，。、：！？“”（）；《》…")


def common_characters() -> str:
    """The 3755 common Chinese characters: level 1 of the national standard GB 2312."""
    rows = range(0xB0, 0xD8)
    cells = range(0xA1, 0xFF)
    last_row_ends_after = 0xF9
    return "".join(
        bytes([row, cell]).decode("gb2312")
        for row in rows
        for cell in cells
        if not (row == 0xD7 and cell > last_row_ends_after)
    )


def weighted_sentences(texts: Texts) -> Iterator[tuple[str, int]]:
    """Every training sentence and its weight: everyday words matter more than programmers' ones."""
    for sentence in training_sentences(texts):
        yield sentence, 1
    for item in texts.train_concepts + texts.train_searches:
        for sentence in item.texts():
            yield sentence, OWN_TEXT_WEIGHT
    for zh, en in texts.glossary:
        for word in (*zh, *en):
            yield word, DICTIONARY_WEIGHT
    for pair in texts.names:
        yield pair.en, OWN_TEXT_WEIGHT
    for topic in texts.topics:
        for _, en in topic.words:
            yield en, DICTIONARY_WEIGHT


def byte_pair_corpus(texts: Texts) -> Iterator[str]:
    """What the merges are counted on: no Chinese, whose characters enter the vocabulary whole."""
    for sentence in training_sentences(texts):
        yield HAN.sub(" ", f"{sentence} {sentence.lower()}")


def pieces_of_the_prompt() -> Iterator[str]:
    """Every word of the fixed prompt and the common punctuation, so that each is one token."""
    for word in re.findall(r"<?[A-Za-z]+", re.sub(r"<\|?/?\w+\|?>", " ", prompt.full("", ""))):
        yield from (word, " " + word)
    yield from MARKERS
    yield from ("Instruct", "Query", "Document", *PUNCTUATION, *ENDINGS)


def whole_words(texts: Texts) -> Iterator[str]:
    """Words that become one token each, the most useful first, in the forms that they take.

    A word is counted as it is written, so names keep their capital; the first word of a sentence
    is counted in lower case, where it belongs. Common words get a form with a capital as well.
    """
    counts: collections.Counter = collections.Counter()
    for sentence, weight in weighted_sentences(texts):
        for found in re.finditer(r"[A-Za-z]{2,}", sentence):
            is_first = found.start() == 0 or sentence[: found.start()].rstrip().endswith((".", ":"))
            is_first = is_first and " " in sentence  # a name alone keeps its capital
            counts[found.group().lower() if is_first else found.group()] += weight
    known = english_words(texts)
    for word in [word for word in counts if stem_of(word, known)]:
        counts[stem_of(word, known)] += counts.pop(word)
    ordered = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    yield from ordered[:WORDS_WITHOUT_SPACE]
    for number, word in enumerate(ordered):
        yield " " + word
        if number < WORDS_WITH_CAPITAL:
            yield " " + word.capitalize()


def characters_to_keep(texts: Texts) -> list[str]:
    """The common characters, and the rarer ones that the project's own texts use twice or more."""
    counts = collections.Counter(
        character
        for sentence, _ in weighted_sentences(texts)
        for character in HAN.findall(sentence)
    )
    common = common_characters()
    return list(common) + sorted(c for c, n in counts.items() if n >= 20 and c not in set(common))


def byte_form(text: str) -> str:
    """A text in the alphabet that byte-level BPE uses for its vocabulary."""
    (piece,) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        text
    )
    return piece[0]


def chinese_words(texts: Texts) -> list[str]:
    """The words of the glossary, of names and short messages; those that texts use come first."""
    candidates = {word: 3 for zh, _ in texts.glossary for word in zh}
    candidates |= {zh: 3 for topic in texts.topics for zh, _ in topic.words}
    for pair in texts.train_messages + texts.names:
        if len(pair.zh) == 2:
            candidates.setdefault(pair.zh, 0)
    whole = re.compile(f"[\u4e00-\u9fff]{{2,{LONGEST_CHINESE_WORD}}}")
    counts = {word: n for word, n in candidates.items() if whole.fullmatch(word)}
    for sentence, weight in weighted_sentences(texts):
        for run in re.findall("[\u4e00-\u9fff]{2,}", sentence):
            for length in range(2, LONGEST_CHINESE_WORD + 1):
                for start in range(len(run) - length + 1):
                    word = run[start : start + length]
                    if word in counts:
                        counts[word] += weight
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return ordered[:CHINESE_WORDS]


def english_words(texts: Texts) -> set[str]:
    """The single English words of the dictionary."""
    words = {word for _, en in texts.glossary for word in en}
    words |= {en for topic in texts.topics for _, en in topic.words}
    return {word for word in words if re.fullmatch("[a-z]{3,}", word)}


def stem_of(word: str, known: set[str]) -> str | None:
    """The known word that this word is a form of; a known word is a form of nothing else."""
    for ending in ENDINGS:
        if word.endswith(ending) and word.removesuffix(ending) in known:
            return word.removesuffix(ending)
    return None


def one_of(words: Iterable[str], sizes: tuple[int, ...]) -> str:
    """A pattern that matches the longest of the words, in nested choices of their first characters.

    Onigmo tries alternatives one after the other; with thousands of words only nesting is fast.
    """
    if not sizes:
        ordered = sorted(words, key=lambda word: (-len(word), word))
        return f"(?:{'|'.join(ordered)})"
    blocks: dict[int, list[str]] = collections.defaultdict(list)
    for word in words:
        blocks[ord(word[0]) // sizes[0]].append(word)
    options = []
    for block, found in sorted(blocks.items()):
        first, last = chr(sizes[0] * block), chr(sizes[0] * (block + 1) - 1)
        options.append(f"(?=[{first}-{last}]){one_of(found, sizes[1:])}")
    return f"(?:{'|'.join(options)})"


def pieces(words: list[str], stems: set[str]) -> Regex:
    """Known Chinese words, known English words before an ending, and all the rest."""
    ending = f"(?=(?:{'|'.join(ENDINGS)})(?!\\p{{L}}))"
    pairs: dict[str, list[str]] = collections.defaultdict(list)
    for stem in sorted(stems):
        pairs[stem[:2]].append(stem[2:])
    rests = {pair: one_of(found, ()) for pair, found in pairs.items()}
    letters = [
        f"(?= ?{letter}) ?{letter}"
        f"(?:{'|'.join(pair[1] + rest for pair, rest in rests.items() if pair[0] == letter)})"
        for letter in sorted({pair[0] for pair in rests})
    ]
    chinese = f"(?=[\u4e00-\u9fff]){one_of(words, (2048, 256, 32))}"
    english = f"(?= ?[a-z])(?:{'|'.join(letters)}){ending}"
    return Regex(f"{chinese}|{english}|{OTHER_PIECES}")


def pre_tokenizer(words: list[str], stems: set[str]) -> pre_tokenizers.PreTokenizer:
    """Pieces first, then bytes."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces(words, stems), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def train_tokenizer(texts: Texts) -> Tokenizer:
    """The trained tokenizer with all of Qwen's special tokens as added tokens.

    Characters and whole words enter the vocabulary directly (`ignore_merges`: a piece that is in
    the vocabulary is one token), so no room is lost to the halves that merging would need.
    """
    known_words = chinese_words(texts)
    draft = Tokenizer(models.BPE())
    stems = english_words(texts)
    draft.pre_tokenizer = pre_tokenizer(known_words, stems)
    trainer = trainers.BpeTrainer(
        vocab_size=BYTE_PAIR_PIECES,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    draft.train_from_iterator(byte_pair_corpus(texts), trainer)
    model = json.loads(draft.to_str())["model"]
    vocabulary: dict[str, int] = dict(model["vocab"])
    room = VOCABULARY_SIZE - len(SPECIAL_TOKENS) - len(ADDED_TOKENS)
    wanted = itertools.chain(
        pieces_of_the_prompt(), characters_to_keep(texts), known_words, whole_words(texts)
    )
    for text in wanted:
        if len(vocabulary) == room:
            break
        vocabulary.setdefault(byte_form(text), len(vocabulary))
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizer(known_words, stems)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in ADDED_TOKENS])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json (compact) and a tokenizer_config.json for Transformers 4 and 5."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.loads(tokenizer.to_str())
    compact = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(compact, encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": LONGEST_PROMPT_TOKENS,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "bos_token": None,
        "unk_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
    }
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer through the class that its configuration names."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
