"""Quantised weights: what is said about them, and the forms of the practice model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from drift import Drift, RankDrift
from quantise_practice_model import AWQ_ORDER, FORMS, GROUP, LINEAR, quantise
from safetensors.torch import load_file

from rerank_kit import models
from rerank_kit.errors import InputError
from rerank_kit.quantisation import PUBLISHED, QUANTISED_FORMS, published, quantisation_name
from rerank_kit.server.readiness import is_headless

LAYER = "model.layers.0.mlp.down_proj"


@pytest.fixture(scope="module")
def original() -> torch.Tensor:
    return load_file(models.practice_model_dir() / "model.safetensors")[f"{LAYER}.weight"].float()


def _unpacked(words: torch.Tensor) -> torch.Tensor:
    """Eight 4-bit values out of each 32-bit word, the lowest first."""
    parts = [(words.long() >> (4 * place)) & 15 for place in range(8)]
    return torch.stack(parts, dim=-1).flatten(1)


def _restored(form: str, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """The weights that the quantised file stands for."""
    if form == "int8":
        return weights[f"{LAYER}.weight"].float() * weights[f"{LAYER}.weight_scale"]
    if form == "int4":
        values = _unpacked(weights[f"{LAYER}.weight_packed"]) - 8
        scale = weights[f"{LAYER}.weight_scale"].float()
        return values.float() * scale.repeat_interleave(GROUP, dim=1)
    back = [AWQ_ORDER.index(place) for place in range(8)]
    values, zeros = (
        _unpacked(weights[f"{LAYER}.{name}"]).unflatten(1, (-1, 8))[..., back].flatten(1)
        for name in ("qweight", "qzeros")
    )
    spread = [part.float().repeat_interleave(GROUP, dim=0) for part in
              (zeros, weights[f"{LAYER}.scales"])]  # fmt: skip
    return ((values - spread[0]) * spread[1]).t()


@pytest.mark.parametrize(("form", "steps"), [("int8", 127), ("int4", 7), ("awq", 7.5)])
def test_each_form_stands_for_the_same_weights_within_half_a_step(
    form: str, steps: float, original: torch.Tensor, tmp_path: Path
) -> None:
    weights = load_file(quantise(form, tmp_path) / "model.safetensors")
    largest = original.abs().max()
    off = (_restored(form, weights) - original).abs().max()
    assert 0 < off <= 0.56 * largest / steps
    # Embeddings, and with them the tied head, and norms stay as they were.
    plain = load_file(models.practice_model_dir() / "model.safetensors")
    kept = [name for name in plain if name.split(".")[-2] not in LINEAR]
    assert all(torch.equal(weights[name], plain[name]) for name in kept)


@pytest.mark.parametrize("form", FORMS)
def test_the_checkpoint_says_what_it_is_and_leaves_the_head_alone(
    form: str, tmp_path: Path
) -> None:
    config = json.loads((quantise(form, tmp_path) / "config.json").read_text(encoding="utf-8"))
    found = config["quantization_config"]
    ignored = found.get("ignore") or found["modules_to_not_convert"]
    assert {"lm_head", "score"} <= set(ignored)
    facts = models.facts_of(str(tmp_path))
    assert facts.quantised == {"int8": "int8_checkpoint"}.get(form, "awq")
    assert facts.weights_gib() < models.facts_of(models.PRACTICE).weights_gib()


def test_a_converted_checkpoint_has_one_row_instead_of_a_head(tmp_path: Path) -> None:
    folder = quantise("int8", tmp_path, converted=True)
    weights = load_file(folder / "model.safetensors")
    assert weights["score.weight"].shape == (1, 192) and "lm_head.weight" not in weights
    assert models.facts_of(str(folder)).converted


@pytest.mark.parametrize("name", ["int8_per_channel_weight_only", "nvfp4_per_token"])
def test_a_form_for_experts_only_is_refused_because_it_saves_nothing(name: str) -> None:
    """vLLM 0.32 accepts the flag for a dense model and quantises nothing."""
    with pytest.raises(InputError, match="saves nothing"):
        quantisation_name(name)
    from vllm.config.quantization import _ONLINE_SHORTHANDS

    assert _ONLINE_SHORTHANDS[name].linear is None


def test_every_form_that_is_made_while_loading_is_one_that_vllm_has_for_ordinary_layers() -> None:
    from vllm.config.quantization import _ONLINE_SHORTHANDS

    for form in QUANTISED_FORMS.values():
        if form.flag:
            assert _ONLINE_SHORTHANDS[form.flag].linear is not None, form.name


def test_published_checkpoints_are_listed_with_their_source() -> None:
    for one in PUBLISHED:
        assert one.base in models.CATALOGUE and one.form in QUANTISED_FORMS and one.source
        assert one.name in published(one.base, one.form)


def test_a_head_of_zeros_is_told_apart_from_bad_scores() -> None:
    assert is_headless([0.5, 0.5001])
    assert not is_headless([0.5, 0.6]) and not is_headless([])


def test_drift_counts_order_only_where_the_reference_has_one() -> None:
    drift = Drift.of([0.9, 0.1, 0.505], [0.8, 0.2, 0.21])
    assert drift.pairs == 3 and drift.largest == pytest.approx(0.295)
    assert drift.same_order == 1.0
    assert Drift.of([0.1, 0.9], [0.9, 0.1]).same_order == 0.0


def test_drift_of_rankings_looks_at_each_query_by_itself() -> None:
    reference = [0.9, 0.5, 0.1, 0.2, 0.8, 0.79]
    same = RankDrift.of([0.8, 0.4, 0.2, 0.1, 0.7, 0.75], reference, 3)
    assert (same.queries, same.documents) == (2, 3)
    assert same.same_first == 1.0  # 0.8 and 0.79 are a tie
    assert same.same_order == 1.0 and same.largest == pytest.approx(0.1)
    worse = RankDrift.of([0.5, 0.9, 0.1, 0.2, 0.8, 0.79], reference, 3)
    assert worse.same_first == 0.5 and worse.lowest_order == pytest.approx(2 / 3)


def test_the_packing_is_that_of_compressed_tensors() -> None:
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    from quantise_practice_model import _pack

    values = torch.randint(-8, 8, (5, 24), dtype=torch.int8, generator=torch.manual_seed(1))
    assert torch.equal(_pack(values.int() + 8), pack_to_int32(values, 4))
