import pytest
import torch
from torch import nn

from common.release.sensitivity import DAMPING, root, sensitivities


def test_the_moments_are_those_of_inputs_and_gradients():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    model = nn.Sequential(nn.LayerNorm(3), layer)
    model.requires_grad_(False)
    batches = [torch.randn(5, 4, 3), torch.randn(1, 4, 3)]
    losses = (model(batch).square().sum() / 2 for batch in batches)
    found = sensitivities(model, losses)
    assert set(found) == {"1.weight"}
    given = torch.cat([model[0](batch).flatten(0, 1) for batch in batches])
    answers = layer(given)  # the gradient of half a square is what is squared
    torch.testing.assert_close(found["1.weight"].inputs, given.T @ given)
    torch.testing.assert_close(found["1.weight"].gradients, answers.T @ answers)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not layer._forward_hooks


def test_the_root_of_moments_and_its_inverse():
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    moments = rows.T @ rows
    half, back = root(moments)
    damped = moments + DAMPING * moments.trace() / 6 * torch.eye(6)
    torch.testing.assert_close(half @ half, damped, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(half @ back, torch.eye(6), rtol=0, atol=1e-4)


@pytest.mark.parametrize("moments", [torch.zeros(4, 4), torch.ones(4, 4)])
def test_moments_without_full_rank_have_a_root(moments: torch.Tensor):
    half, back = root(moments)
    assert torch.isfinite(half).all()
    assert torch.isfinite(back).all()
