import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from common.models.low_rank import LowRankLinear

ROWS, D_IN, D_OUT = 7, 12, 10


@pytest.fixture
def twins() -> tuple[Any, Any]:
    """The same stirred adapters in our layer and in peft's; W and b are frozen."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(D_IN, D_OUT))
    ours, theirs = (_adapted(copy.deepcopy(plain), custom) for custom in (True, False))
    weights = {name: torch.randn_like(part) for name, part in ours.named_parameters()}
    for model in (ours, theirs):
        for name, parameter in model.named_parameters():
            parameter.data.copy_(weights[name])
    assert isinstance(ours.base_model.model[0], LowRankLinear)
    assert not isinstance(theirs.base_model.model[0], LowRankLinear)
    return ours, theirs


def _adapted(model: nn.Module, custom: bool) -> Any:
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["0"])
    other = LoraConfig(r=2, lora_alpha=1, target_modules=["0"])
    if custom:
        config._register_custom_module({nn.Linear: LowRankLinear})
        other._register_custom_module({nn.Linear: LowRankLinear})
    adapted = get_peft_model(model, config)
    adapted.add_adapter("second", other)
    return adapted


def results(model: Any, low: bool = False) -> list[Tensor]:
    """Output, the input's gradient, and those of what learns."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2, ROWS, D_IN, generator=generator).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        made = model(states)
    (made.float() * torch.randn(made.shape, generator=generator)).sum().backward()
    learned = [p.grad for p in model.parameters() if p.requires_grad]
    assert states.grad is not None
    return [made, states.grad, *learned]


@pytest.mark.parametrize("active", [["default"], ["second"], ["default", "second"]])
def test_output_and_gradients_are_those_of_peft(twins: tuple[Any, Any], active: list[str]):
    for model in twins:
        model.base_model.set_adapter(active)
    found, expected = (results(model) for model in twins)
    assert len(found) == len(expected) == 2 + 2 * len(active)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_under_autocast_it_is_no_further_from_float32_than_peft(twins: tuple[Any, Any]):
    exact = results(copy.deepcopy(twins[1]))
    errors = []
    for model in twins:
        found = results(model, low=True)
        assert found[0].dtype == torch.bfloat16
        off = [(a.float() - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)]
        errors.append(torch.stack(off))
    mine, other = errors
    assert (mine < 0.02).all()
    assert mine.mean() < 1.1 * other.mean()


def test_without_active_adapters_it_is_the_layer_below(twins: tuple[Any, Any]):
    ours = twins[0]
    layer, states = ours.base_model.model[0], torch.randn(ROWS, D_IN)
    expected = layer.get_base_layer()(states)
    assert not torch.allclose(ours(states), expected)
    ours.base_model.set_adapter([])
    assert torch.equal(ours(states), expected)
    ours.base_model.set_adapter(["default"])
    with ours.disable_adapter():
        assert torch.equal(ours(states), expected)


def test_a_weight_that_learns_is_refused(twins: tuple[Any, Any]):
    twins[0].base_model.model[0].get_base_layer().weight.requires_grad_(True)
    with pytest.raises(AssertionError, match="frozen"):
        twins[0](torch.randn(ROWS, D_IN))
