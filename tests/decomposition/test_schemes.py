import pytest
import torch
from torch import Tensor

from decomposition.protocol import Decomposition, unit
from decomposition.repeat import Repeat
from decomposition.single import Single
from decomposition.window import Window


@pytest.fixture
def activations() -> Tensor:
    return 30 * torch.randn(5, 64, generator=torch.Generator().manual_seed(0))


def test_unit_vectors_by_hand():
    found = unit(torch.tensor([[3.0, 4.0], [0.0, -0.5]]))
    assert torch.allclose(found, torch.tensor([[0.6, 0.8], [0.0, -1.0]]), atol=1e-6)


def test_a_single_slot_holds_the_direction_to_the_bit(activations: Tensor):
    """As it was when injection itself made vectors unit length."""
    vectors = activations[:, None].expand(-1, 1, -1)
    expected = vectors * torch.rsqrt(vectors.pow(2).sum(-1, keepdim=True) + 1e-12)
    assert torch.equal(Single()(activations), expected)
    assert Single().slots == 1


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_repeat_puts_the_same_vector_in_every_slot(activations: Tensor, slots: int):
    found = Repeat(slots)(activations)
    assert found.shape == (5, slots, 64)
    assert all(torch.equal(found[:, [slot]], Single()(activations)) for slot in range(slots))


def test_a_window_gives_each_position_a_slot(activations: Tensor):
    """In the order of the text, each with length 1, whatever its own length."""
    longer = torch.cat([100 * activations.flip(0), activations], 1)
    found = Window(2)(longer)
    assert found.shape == (5, 2, 64)
    assert torch.allclose(found[:, [0]], Single()(activations.flip(0)), atol=1e-6)
    assert torch.equal(found[:, [1]], Single()(activations))
    by_hand = Window(2)(torch.tensor([[3.0, 4.0, 0.0, -0.5]]))
    assert torch.allclose(by_hand, torch.tensor([[[0.6, 0.8], [0.0, -1.0]]]), atol=1e-6)
    assert (Window(2).window, Repeat(2).window, Single().window) == (2, 1, 1)


@pytest.mark.parametrize("scheme", [Single(), Repeat(3)])
def test_the_length_of_an_activation_does_not_matter(scheme: Decomposition, activations: Tensor):
    for factor in (0.01, 500.0):
        assert torch.allclose(scheme(factor * activations), scheme(activations), atol=1e-6)
    norms = scheme(activations).norm(dim=-1)
    assert torch.allclose(norms, torch.ones_like(norms))


@pytest.mark.parametrize("scheme", [Single(), Repeat(3)])
def test_a_zero_activation_gives_zero_and_has_a_finite_gradient(scheme: Decomposition):
    activations = torch.zeros(1, 4, requires_grad=True)
    found = scheme(activations)
    assert not found.any()
    (found + 1).square().sum().backward()
    assert activations.grad is not None
    assert torch.isfinite(activations.grad).all()


def test_what_is_not_finite_stays_so_in_its_own_row(activations: Tensor):
    activations[2, 3] = torch.inf
    found = Repeat(2)(activations)
    assert found.isfinite().flatten(1).all(1).tolist() == [True, True, False, True, True]


def test_nothing_is_fitted_and_nothing_learns_by_default(activations: Tensor):
    scheme = Repeat(2)
    scheme.fit(activations)
    assert not scheme.state_dict()
    assert scheme.settings == {}
