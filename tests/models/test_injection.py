import pytest
import torch

from common.models.injection import add_norm_matched, repeat, replace, unit


def test_unit_vectors_by_hand():
    found = unit(torch.tensor([[3.0, 4.0], [0.0, -0.5]]))
    assert torch.allclose(found, torch.tensor([[0.6, 0.8], [0.0, -1.0]]), atol=1e-6)


def test_replace_has_norm_alpha_and_touches_slots_only():
    torch.manual_seed(0)
    embeddings, vectors = torch.randn(3, 6, 8), 100 * torch.randn(3, 2, 8)
    before = embeddings.clone()
    found = replace(embeddings, (2, 3), vectors, alpha=7.0)
    assert torch.equal(embeddings, before), "the input was changed in place"
    others = [0, 1, 4, 5]
    assert torch.equal(found[:, others], before[:, others])
    assert torch.allclose(found[:, 2:4].norm(dim=-1), torch.full((3, 2), 7.0))
    cosine = torch.nn.functional.cosine_similarity(found[:, 2:4], vectors, dim=-1)
    assert torch.allclose(cosine, torch.ones(3, 2))


def test_the_length_of_an_injected_vector_does_not_matter():
    embeddings, vectors = torch.zeros(1, 3, 4), torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    found = [replace(embeddings, [1], factor * vectors, alpha=2.0) for factor in (0.01, 1.0, 500.0)]
    assert torch.allclose(found[0], found[1])
    assert torch.allclose(found[2], found[1])


def test_add_is_matched_to_the_norm_of_what_is_there():
    hidden = torch.tensor([[[9.0, 9.0], [0.0, 5.0], [1.0, 1.0]]])
    found = add_norm_matched(hidden, [1], torch.tensor([[[30.0, 40.0]]]))
    expected = torch.tensor([[[9.0, 9.0], [3.0, 9.0], [1.0, 1.0]]])  # (0, 5) + 5 * (0.6, 0.8)
    assert torch.allclose(found, expected)
    assert torch.equal(hidden[0, 1], torch.tensor([0.0, 5.0])), "the input was changed in place"


@pytest.mark.parametrize("kind", ["replace", "add"])
def test_a_zero_vector_injects_nothing_and_has_a_finite_gradient(kind: str):
    hidden, vectors = torch.randn(1, 3, 4), torch.zeros(1, 1, 4, requires_grad=True)
    found = (
        replace(hidden, [1], vectors, 5.0)
        if kind == "replace"
        else add_norm_matched(hidden, [1], vectors)
    )
    expected = torch.zeros(4) if kind == "replace" else hidden[0, 1]
    assert torch.equal(found[0, 1], expected)
    found.square().sum().backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()


def test_injection_keeps_the_precision_of_the_stream():
    hidden, vectors = torch.randn(1, 3, 4).bfloat16(), torch.randn(1, 1, 4)
    assert replace(hidden, [0], vectors, 2.0).dtype == torch.bfloat16
    assert add_norm_matched(hidden, [0], vectors).dtype == torch.bfloat16


def test_repeat_puts_the_same_vector_in_every_slot():
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = repeat(vectors, 3)
    assert found.shape == (2, 3, 2)
    assert all(torch.equal(found[:, slot], vectors) for slot in range(3))
