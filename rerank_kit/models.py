"""Facts about the models this kit serves. Read a model's own config.json where one is at hand."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rerank_kit.errors import InputError
from rerank_kit.quantisation import QUANTISED_FORMS, form_of_checkpoint

GIB = 2**30

#: vLLM reads the yes/no head out of the text generator only with these overrides
#: (vLLM 0.32.0, model_executor/models/config.py). A converted "-seq-cls" checkpoint needs none.
RERANKER_OVERRIDES = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}

PRACTICE = "practice"


@dataclass(frozen=True)
class ModelFacts:
    """The shape of one model, from which its memory follows. source: where the shape is from."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool  # one table is both the embedding and the output head
    max_positions: int = 40960
    converted: bool = False  # a sequence-classification checkpoint: it has no output head
    quantised: str = ""  # the QuantisedForm its files are in
    bytes_per_weight: float = 0.0  # of the linear layers, when the files say it themselves
    source: str = ""

    @property
    def embedding_parameters(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def linear_parameters(self) -> int:
        """The weights of all linear layers: attention in and out, and the feed-forward part."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def norm_parameters(self) -> int:
        return self.layers * (2 * self.hidden + 2 * self.head_dim) + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters in the published file."""
        return (
            self.embedding_parameters + self.linear_parameters + self.norm_parameters
            + (0 if self.tied or self.converted else self.embedding_parameters)
        )  # fmt: skip

    @property
    def served_weights_gib(self) -> float:
        """In 16 bits, without the output head that vLLM drops."""
        return self.weights_gib()

    def weights_gib(self, quantisation: str = "", bytes_per_value: int = 2) -> float:
        """GiB of the served weights. quantisation: a QUANTISED_FORMS name, "" for none."""
        name = quantisation or self.quantised
        per_linear: float = bytes_per_value
        if name:
            per_linear = QUANTISED_FORMS[name].bytes_per_weight
        if self.bytes_per_weight and not quantisation:
            per_linear = self.bytes_per_weight
        rest = self.embedding_parameters + self.norm_parameters
        return (self.linear_parameters * per_linear + rest * bytes_per_value) / GIB

    def loading_gib(self, bytes_per_value: int = 2) -> float:
        """What is in memory only while loading: an output head of its own (the 8B), read to take
        the rows of "yes" and "no" out of it, then dropped."""
        if self.tied or self.converted:
            return 0.0
        return self.embedding_parameters * bytes_per_value / GIB

    def kv_bytes_per_token(self, bytes_per_value: int = 2) -> int:
        """Keys and values of one token in all layers (factor 2: one key, one value)."""
        return 2 * self.layers * self.kv_heads * self.head_dim * bytes_per_value

    def activation_bytes_per_token(self, bytes_per_value: int = 2) -> int:
        """The widest moment of a layer: the hidden state twice, the gate and up projections and
        their product (an estimate; vLLM's log has the measured peak)."""
        return (2 * self.hidden + 3 * self.intermediate) * bytes_per_value


_PUBLIC = (
    "layers: Qwen3-Embedding README; the rest: public Qwen3 configurations with a vocabulary of "
    "151669"
)


def _published(name: str, *shape: int, tied: bool) -> ModelFacts:
    layers, hidden, intermediate, heads = shape
    return ModelFacts(name, layers, hidden, intermediate, heads, 8, 128, 151669, tied,
                      source=_PUBLIC)  # fmt: skip


CATALOGUE = {
    facts.name: facts
    for facts in (
        _published("Qwen/Qwen3-Reranker-0.6B", 28, 1024, 3072, 16, tied=True),
        _published("Qwen/Qwen3-Reranker-4B", 36, 2560, 9728, 32, tied=True),
        # vLLM PR 28117: the 8B has an output head of its own.
        _published("Qwen/Qwen3-Reranker-8B", 36, 4096, 12288, 32, tied=False),
    )
}
#: The embedding models of the same family: the same shapes, served without any output head.
EMBEDDING_MODELS = {
    name: replace(facts, name=name, tied=True)
    for facts in CATALOGUE.values()
    for name in [facts.name.replace("Reranker", "Embedding")]
}


def facts_of(model: str) -> ModelFacts:
    """The shape of a model: a short name, a hub id or a folder. The model's own config.json is
    read where it is at hand (the folder, or the hub's cache), else the catalogue is used.

    Raises InputError for a model whose shape is not known here.

    >>> facts_of("4B").parameters
    4021784576
    """
    name = resolve(model)
    folder = local_folder(name)
    if folder is not None:
        return facts_from_config(_read_config(folder), name)
    for known in (CATALOGUE, EMBEDDING_MODELS):
        if name in known:
            return known[name]
    raise InputError(
        f"The shape of {name} is not known here.",
        hint=f"download it first (hf download {name}), or name a folder with its config.json",
    )


def facts_from_config(config: dict[str, Any], name: str) -> ModelFacts:
    """A Hugging Face config.json -> ModelFacts. Raises InputError when it is no Qwen3-like
    decoder (keys missing or not numbers)."""
    try:
        heads = int(config["num_attention_heads"])
        hidden = int(config["hidden_size"])
        form, per_weight = form_of_checkpoint(config.get("quantization_config") or {})
        return ModelFacts(
            name=name,
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            max_positions=int(config.get("max_position_embeddings") or 40960),
            converted=any(
                "ForSequenceClassification" in str(one) for one in config.get("architectures") or ()
            ),
            quantised=form,
            bytes_per_weight=per_weight,
            source="its own config.json",
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise InputError(
            f"The config.json of {name} does not describe a model of this kind.",
            evidence=f"{type(error).__name__}: {error}",
            hint="Qwen3-Reranker models and models of the same build can be planned",
        ) from None


def hub_cache_dir() -> Path:
    """Where the Hugging Face client keeps models (its own variables, in its own order)."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def _cached_folder(name: str) -> Path | None:
    """The newest downloaded snapshot of a hub model, if there is one."""
    base = hub_cache_dir() / f"models--{name.replace('/', '--')}" / "snapshots"
    try:
        found = [path.parent for path in base.glob("*/config.json") if path.is_file()]
        return max(found, key=lambda path: path.stat().st_mtime) if found else None
    except OSError:
        return None


def local_folder(model: str) -> Path | None:
    """Where the files of a model lie on this machine: its folder, or the hub's cache."""
    name = resolve(model)
    return Path(name) if Path(name).is_dir() else _cached_folder(name)


def is_downloaded(name: str) -> bool:
    """True when the hub's cache holds the model's configuration and some of its weights."""
    folder = _cached_folder(name)
    return folder is not None and any(folder.glob("*.safetensors"))


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder / 'config.json'} cannot be read as a model configuration.",
            evidence=str(error), hint="copy the model again, or check the file's permissions",
        ) from None
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'} is not a model configuration.",
                         hint="copy the model again")  # fmt: skip
    return config


def practice_model_dir() -> Path:
    """The folder of the practice model that ships inside the package."""
    return Path(__file__).parent / "practice"


def resolve(model: str) -> str:
    """A short name ("practice", "0.6B", "Qwen3-Reranker-4B"), a hub id or a folder ->
    what vLLM is given. Raises InputError for a folder that holds no model."""
    if model == PRACTICE:
        return str(practice_model_dir())
    wanted = model.lower()
    for name in CATALOGUE:
        if wanted in (name.lower(), name.lower().split("/")[1], name.rsplit("-", 1)[1].lower()):
            return name
    path = Path(model).expanduser()
    looks_like_path = path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1
    if path.exists() or looks_like_path:
        return str(_model_folder(path))
    if model.count("/") != 1 or any(c.isspace() for c in model):
        raise InputError(
            f"{model!r} is neither a known model, nor a folder, nor a hub id.",
            hint="use practice, 0.6B, 4B, 8B, a folder, or owner/name",
        )
    return model


def _model_folder(path: Path) -> Path:
    config = path / "config.json"
    if not path.is_dir():
        what = "is a file, not a model folder" if path.exists() else "does not exist"
        raise InputError(f"The model folder {path} {what}.", hint="name the folder of config.json")
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} holds no config.json, so it is not a model folder.",
            hint="name the folder that directly contains config.json and the weights",
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{config} cannot be read as a model configuration.", evidence=str(error),
            hint="copy the model again, or check the file's permissions",
        ) from None
    return path.resolve()
