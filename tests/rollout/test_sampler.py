from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from common.config import RolloutConfig
from common.models import packing
from common.models.verbalizer import FRESH, Verbalizer, freeze_in_bfloat16
from common.rollout.engine import roll_out
from common.rollout.sampler import merged, sample_explanations
from tests.adapters import stir

ROWS = 8
GREEDY = RolloutConfig(temperature=0, batch_size=ROWS)


@pytest.fixture(scope="module")
def verbalizer(make: Callable[..., Verbalizer]) -> Verbalizer:
    return make()


def greedy(verbalizer: Verbalizer, activations: Tensor) -> list[list[int]]:
    return roll_out(verbalizer, activations).written()


def test_batched_is_one_by_one(verbalizer: Verbalizer, activations: Tensor):
    one_by_one = [greedy(verbalizer, activation[None])[0] for activation in activations]
    assert greedy(verbalizer, activations) == one_by_one
    texts = sample_explanations(verbalizer, activations, GREEDY, precision="32-true")
    threes = sample_explanations(
        verbalizer, activations, GREEDY.replace(batch_size=3), precision="32-true"
    )
    assert texts == threes
    assert texts == [text.strip() for text in verbalizer.tokenizer.batch_decode(one_by_one)]


def test_an_av_that_has_nothing_to_say_says_nothing(make: Any, activations: Tensor):
    verbalizer = make()
    first = greedy(verbalizer, activations[:1])[0][0]
    verbalizer.template = replace(verbalizer.template, end_id=first)
    assert greedy(verbalizer, activations[:1]) == [[]]
    assert sample_explanations(verbalizer, activations[:1], GREEDY, precision="32-true") == [""]


def test_samples_follow_the_seed(verbalizer: Verbalizer, activations: Tensor):
    warm = RolloutConfig(temperature=1.0, batch_size=4)

    def drawn(seed: int) -> list[str]:
        return sample_explanations(verbalizer, activations, warm, seed, "32-true")

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_texts_depend_on_place_and_seed_alone(verbalizer: Verbalizer, activations: Tensor):
    def drawn(batch_size: int, samples: int = 2) -> list[str]:
        warm = RolloutConfig(temperature=1.0, batch_size=batch_size)
        return sample_explanations(verbalizer, activations, warm, 7, "32-true", samples)

    assert len(drawn(64)) == 2 * ROWS
    assert drawn(64) == drawn(4) == drawn(1)


@pytest.mark.parametrize("may_pack", [False, True])
@pytest.mark.parametrize("low_precision", [False, True])
@pytest.mark.parametrize("frozen_low", [False, True])
def test_merging_gives_the_weights_back_exactly(
    make: Any,
    frozen_low: bool,
    low_precision: bool,
    may_pack: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    if not may_pack:
        monkeypatch.setattr(packing, "packs", lambda *_: False)
    verbalizer = make()
    if frozen_low:
        freeze_in_bfloat16(verbalizer)
    before = {name: p.detach().clone() for name, p in verbalizer.named_parameters()}
    originals = {
        layer: (
            layer.get_base_layer().weight.clone(),
            layer.lora_B["default"].weight,
            layer.lora_A["default"].weight,
        )
        for layer in verbalizer.modules()
        if hasattr(layer, "lora_A")
    }
    assert originals
    with torch.inference_mode(), merged(verbalizer, low_precision):
        for layer, (weight, up, down) in originals.items():
            up, weight = layer.scaling["default"] * up, weight.float()
            if low_precision:
                up, down, weight = (factor.bfloat16() for factor in (up, down, weight))
            product = layer.get_base_layer()(torch.eye(weight.shape[1])).T
            torch.testing.assert_close(product, weight + up @ down)
    with pytest.raises(RuntimeError, match="stop"), merged(verbalizer, low_precision):
        raise RuntimeError("stop")
    assert not any("forward" in vars(module) for module in verbalizer.modules())
    for name, parameter in verbalizer.named_parameters():
        assert parameter.dtype == before[name].dtype
        assert torch.equal(parameter, before[name]), name


def test_training_goes_on_after_sampling(make: Any, activations: Tensor):
    verbalizer = make()
    sample_explanations(verbalizer, activations, GREEDY, precision="bf16-mixed")
    verbalizer(verbalizer.encode(["a lake"] * ROWS, activations)).mean().backward()
    gradients = [p.grad for p in verbalizer.parameters() if p.requires_grad]
    assert gradients
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("may_pack", [False, True])
@pytest.mark.parametrize("adapted_twice", [False, True])
def test_merged_adapters_write_the_same(
    make: Any,
    activations: Tensor,
    adapted_twice: bool,
    may_pack: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    if not may_pack:
        monkeypatch.setattr(packing, "packs", lambda *_: False)
    verbalizer = make()
    once = greedy(verbalizer, activations)
    if adapted_twice:
        verbalizer.adapt_anew(2)
        stir(verbalizer, FRESH, 0.3)
    apart = greedy(verbalizer, activations)
    assert (apart != once) == adapted_twice
    with merged(verbalizer, low_precision=False):
        assert greedy(verbalizer, activations) == apart


def test_merging_leaves_who_learns_as_it_is(verbalizer: Verbalizer):
    for _ in ("adapters learn", "nothing does"):
        before = [p.requires_grad for p in verbalizer.parameters()]
        with merged(verbalizer, low_precision=False):
            pass
        assert [p.requires_grad for p in verbalizer.parameters()] == before
        verbalizer.requires_grad_(False)


def test_an_adapter_too_small_for_bfloat16_weights_is_still_heard(make: Any, activations: Tensor):
    """Weights on the bfloat16 grid, and updates below half its spacing, as early in training."""
    verbalizer = make()
    for name, parameter in verbalizer.named_parameters():
        if "base_layer" in name:
            parameter.data = parameter.data.bfloat16().float()
        elif "lora_B" in name:
            parameter.data *= 1e-3

    def log_probs() -> Tensor:
        with merged(verbalizer, True), torch.autocast("cpu", torch.bfloat16):
            return roll_out(verbalizer, activations, 1).log_probs[:, 0]

    with_adapters = log_probs()
    with verbalizer.adapted_by([]):
        without = log_probs()
    assert not torch.equal(with_adapters, without)
