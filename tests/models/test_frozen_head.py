import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.models import frozen_head
from common.models.frozen_head import log_probs_of, own_log_probs_of
from tests.families import tiny_family

ROWS, WIDTH, WORDS = 7, 8, 50


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, WORDS, bias=False).requires_grad_(False)


def plain(head: nn.Linear, states: Tensor, ids: Tensor, temperature: float) -> Tensor:
    return -functional.cross_entropy(head(states).float() / temperature, ids, reduction="none")


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("at_once", [1, 3 * WORDS, 1000 * WORDS])
@pytest.mark.parametrize("worth_packing", [1, 512])
@pytest.mark.parametrize("low", [False, True])
def test_values_and_gradients_are_those_of_cross_entropy(
    head: nn.Linear,
    monkeypatch: pytest.MonkeyPatch,
    temperature: float,
    at_once: int,
    low: bool,
    worth_packing: int,
) -> None:
    monkeypatch.setattr(frozen_head, "WORTH_PACKING", worth_packing)
    monkeypatch.setitem(frozen_head.LOGITS_AT_ONCE, "cpu", at_once)
    states = torch.randn(ROWS, WIDTH, requires_grad=True)
    ids, weights = torch.randint(WORDS, (ROWS,)), torch.randn(ROWS)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        expected = plain(head, states, ids, temperature)
        found = log_probs_of(head, states, ids, temperature)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    (slow,) = torch.autograd.grad(expected, states, weights)
    (fast,) = torch.autograd.grad(found, states, weights)
    torch.testing.assert_close(fast, slow, rtol=0, atol=5e-2 if low else 1e-5)


def test_no_row_is_no_log_probability(head: nn.Linear) -> None:
    none = torch.zeros(0, WIDTH, requires_grad=True)
    found = log_probs_of(head, none, torch.zeros(0, dtype=torch.long))
    found.sum().backward()
    assert found.shape == (0,)
    assert none.grad is not None


def test_a_head_that_learns_is_refused(head: nn.Linear) -> None:
    with pytest.raises(AssertionError, match="frozen"):
        log_probs_of(head.requires_grad_(True), torch.randn(1, WIDTH), torch.tensor([0]))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("at_once", [1, 1_000_000])
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {}),
        ("gemma2", {"final_logit_softcapping": 5.0}),
        ("granite", {"logits_scaling": 8.0}),
    ],
)
def test_a_models_own_head_is_that_of_its_logits(
    family: str, settings: dict, at_once: int, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(frozen_head.LOGITS_AT_ONCE, "cpu", at_once)
    model = tiny_family(family, **settings).model
    tokens = torch.tensor([[7, 30, 52, 400, 11]])
    states = model.get_decoder()(input_ids=tokens).last_hidden_state[0]
    ids, weights = torch.tensor([1, 2, 3, 4, 5]), torch.randn(5)
    found = own_log_probs_of(model, asked := states.clone().requires_grad_(), ids, temperature)
    logits = model(input_ids=tokens).logits[0]
    expected = (logits / temperature).log_softmax(-1).gather(1, ids[:, None]).squeeze(1)
    torch.testing.assert_close(found, expected)
    (slopes,) = torch.autograd.grad(found, asked, weights)
    nudged = states + 1e-3 * slopes / slopes.norm()
    again = own_log_probs_of(model, nudged, ids, temperature)
    gained = (weights * (again - found)).sum() / 1e-3
    torch.testing.assert_close(gained, slopes.norm(), rtol=0.05, atol=0.01)
