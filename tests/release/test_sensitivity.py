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


def test_the_root_of_moments():
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    moments = rows.T @ rows
    half = root(moments)
    damped = moments + DAMPING * moments.trace() / 6 * torch.eye(6)
    torch.testing.assert_close(half @ half.T, damped, rtol=1e-5, atol=1e-5)
    assert torch.equal(half, half.tril())


@pytest.mark.parametrize("moments", [torch.zeros(4, 4), torch.ones(4, 4)])
def test_moments_without_full_rank_have_a_root_that_can_be_undone(moments: torch.Tensor):
    half = root(moments)
    undone = torch.linalg.solve_triangular(half, half, upper=False)
    torch.testing.assert_close(undone, torch.eye(4))
