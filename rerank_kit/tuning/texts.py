"""Lengths in tokens without a server: the model's own tokenizer file, read on this machine."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from rerank_kit import models, prompt
from rerank_kit.errors import InputError, SetupError
from rerank_kit.tuning.workload import Workload, parse_mix, read_workload, shipped_workload


class LocalTokenizer:
    """tokenizer.json of a model folder. Raises SetupError without the tokenizers library."""

    def __init__(self, folder: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise SetupError(
                "Counting tokens here needs the tokenizers library.",
                hint="bash scripts/start.sh --setup-only",
            ) from None
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def borders(self, text: str) -> list[int]:
        """The character offset at which each token begins."""
        return [begin for begin, _ in self._encode(text).offsets]

    def overhead(self, query: str, instruction: str | None) -> int:
        """Tokens of the prompt around an empty document."""
        return len(self._encode(prompt.render(query, "", instruction)).ids)

    def _encode(self, text: str) -> Any:
        return self._tokenizer.encode(text, add_special_tokens=False)


def texts_named(options: Namespace) -> Workload:
    """The texts that a command's options name: own files, or a corpus of this package."""
    each, instruction = options.documents_per_request, options.instruction
    if options.queries or options.documents:
        return read_workload(
            options.queries, options.documents, documents_per_request=each, instruction=instruction
        )
    return shipped_workload(
        options.corpus_name, documents_per_request=each, instruction=instruction
    )


def workload_for_model(options: Namespace, model: str) -> Workload:
    """The same, cut to the asked lengths with the model's own tokenizer: no server runs yet."""
    return cut_for_model(texts_named(options), options.pair_tokens or "", model)


def cut_for_model(workload: Workload, pair_tokens: str, model: str) -> Workload:
    """A load cut so that its pairs have these tokens ("512", "128:3,512"; "": as it is). Raises
    InputError, also where the model's tokenizer is not on this machine."""
    if not pair_tokens.strip():
        return workload
    folder = models.local_folder(model)
    if folder is None or not (folder / "tokenizer.json").exists():
        raise InputError(
            f"The tokenizer of {model} is not on this machine yet.",
            hint="leave the pair length out (--pair-tokens), or launch the model once",
        )
    return workload.with_pair_tokens(parse_mix(pair_tokens), LocalTokenizer(folder))
