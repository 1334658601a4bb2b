import pytest
import torch

from common.models.injection import add_norm_matched, replace
from decomposition.single import Single


def test_replace_keeps_the_lengths_of_vectors_and_touches_slots_only():
    torch.manual_seed(0)
    embeddings, vectors = torch.randn(3, 6, 8), torch.randn(3, 2, 8)
    before = embeddings.clone()
    found = replace(embeddings, (2, 3), vectors, alpha=7.0)
    assert torch.equal(embeddings, before), "the input was changed in place"
    others = [0, 1, 4, 5]
    assert torch.equal(found[:, others], before[:, others])
    assert torch.equal(found[:, 2:4], 7.0 * vectors)


def test_one_slot_is_injected_as_ever_to_the_bit():
    """Written out as it was when injection itself made vectors unit length."""
    torch.manual_seed(0)
    stream, activations = torch.randn(5, 6, 64), 30 * torch.randn(5, 64)
    vectors = activations[:, None].expand(-1, 1, -1)
    directions = vectors * torch.rsqrt(vectors.pow(2).sum(-1, keepdim=True) + 1e-12)
    replaced, added = stream.clone(), stream.clone()
    replaced[:, [3]] = 61.7 * directions
    added[:, [3]] = stream[:, [3]] + stream[:, [3]].norm(dim=-1, keepdim=True) * directions
    assert torch.equal(replace(stream, [3], Single()(activations), 61.7), replaced)
    assert torch.equal(add_norm_matched(stream, [3], Single()(activations)), added)


def test_add_is_in_units_of_the_norm_of_what_is_there():
    hidden = torch.tensor([[[9.0, 9.0], [0.0, 5.0], [1.0, 1.0]]])
    found = add_norm_matched(hidden, [1], torch.tensor([[[1.2, 1.6]]]))
    expected = torch.tensor([[[9.0, 9.0], [6.0, 13.0], [1.0, 1.0]]])  # (0, 5) + 5 * (1.2, 1.6)
    assert torch.allclose(found, expected)
    assert torch.equal(hidden[0, 1], torch.tensor([0.0, 5.0])), "the input was changed in place"


@pytest.mark.parametrize("kind", ["replace", "add"])
def test_a_zero_vector_injects_nothing_and_has_a_finite_gradient(kind: str):
    hidden, activations = torch.randn(1, 3, 4), torch.zeros(1, 4, requires_grad=True)
    vectors = Single()(activations)
    found = (
        replace(hidden, [1], vectors, 5.0)
        if kind == "replace"
        else add_norm_matched(hidden, [1], vectors)
    )
    expected = torch.zeros(4) if kind == "replace" else hidden[0, 1]
    assert torch.equal(found[0, 1], expected)
    found.square().sum().backward()
    assert activations.grad is not None
    assert torch.isfinite(activations.grad).all()


def test_injection_keeps_the_precision_of_the_stream():
    hidden, vectors = torch.randn(1, 3, 4).bfloat16(), torch.randn(1, 1, 4)
    assert replace(hidden, [0], vectors, 2.0).dtype == torch.bfloat16
    assert add_norm_matched(hidden, [0], vectors).dtype == torch.bfloat16
