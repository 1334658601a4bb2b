import pytest
import torch

from common.training.objectives import (
    best_of_group,
    clipped_loss,
    group_advantages,
    kl_estimate,
    kl_loss,
)

THETA = torch.tensor([0.2, -0.5, 1.0])
REFERENCE = torch.tensor([0.0, 0.4, 0.3]).log_softmax(0)
ALL_TOKENS = torch.tensor([[0], [1], [2]])
MASK = torch.ones(3, 1, dtype=torch.bool)


def policy() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that want a gradient, and the log-probability of each of three one-token texts."""
    theta = THETA.clone().requires_grad_()
    return theta, theta.log_softmax(0)[ALL_TOKENS]


def test_advantages_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    plain = group_advantages(rewards, scale=False)
    assert plain.tolist() == [[-2, -1, 3], [0, 0, 0]]
    scaled = group_advantages(rewards, scale=True)
    spread = (14 / 3) ** 0.5
    assert scaled[0].tolist() == pytest.approx([-2 / spread, -1 / spread, 3 / spread], rel=1e-3)
    assert scaled.sum(1).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_what_came_before_is_no_merit_and_the_unit_stays_the_same():
    rewards, earlier = torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[1.0, 1.0, 4.0]])
    assert group_advantages(rewards, False, earlier).tolist() == [[-1, 0, 1]]
    scaled = group_advantages(rewards, True, earlier)
    spread = (14 / 3) ** 0.5
    assert scaled[0].tolist() == pytest.approx([-1 / spread, 0, 1 / spread], rel=1e-3)


def test_alike_rewards_with_unlike_beginnings_have_a_bounded_weight():
    """A group of invalid samples, all at the worst reward, differs in its beginnings alone."""
    rewards, earlier = torch.full((1, 4), -1.0), torch.tensor([[-0.5, -0.6, -0.4, -0.7]])
    advantages = group_advantages(rewards, True, earlier)
    assert advantages.abs().max() < 2
    assert float(advantages.std(correction=0)) == pytest.approx(1, rel=1e-2)


def test_each_token_has_a_weight_of_its_own():
    log_probs, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    loss = clipped_loss(log_probs, log_probs, mask, torch.tensor([[2.0, -5.0]]), clip=0.2)
    assert loss.tolist() == [1.5]


def test_best_of_group_takes_the_best_valid_sample():
    rewards = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
    valid = torch.tensor([[True, False, True], [False, False, False]])
    assert best_of_group(rewards, valid).tolist() == [[0, 0, 1], [0, 0, 0]]


def test_policy_gradient_is_the_analytic_one():
    """E[A ∇log p] over all three tokens is ∇E[A]: the sum over tokens of A ∇p."""
    theta, log_probs = policy()
    probabilities = THETA.softmax(0)
    advantages = torch.tensor([1.0, -2.0, 0.5])
    rows = clipped_loss(log_probs, log_probs.detach(), MASK, advantages[:, None], clip=0.2)
    (rows * probabilities).sum().backward()
    expected = -probabilities * (advantages - (probabilities * advantages).sum())
    torch.testing.assert_close(theta.grad, expected)


def test_the_ratio_corrects_for_the_policy_that_sampled():
    """Texts drawn from another policy, weighted by the ratio, give the same gradient."""
    theta, log_probs = policy()
    sampled = torch.tensor([0.5, 0.3, 0.2]).log()[:, None]
    advantages = torch.tensor([1.0, -2.0, 0.5])
    rows = clipped_loss(log_probs, sampled, MASK, advantages[:, None], clip=1e9)
    (rows * sampled.exp().squeeze(1)).sum().backward()
    probabilities = THETA.softmax(0)
    expected = -probabilities * (advantages - (probabilities * advantages).sum())
    torch.testing.assert_close(theta.grad, expected)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.5, 1.0, False), (1.5, -1.0, True), (0.5, 1.0, True), (0.5, -1.0, False), (1.1, 1.0, True)],
)
def test_clipping_stops_what_went_far_enough(ratio: float, advantage: float, moves: bool):
    log_probs = torch.tensor([[ratio]]).log().requires_grad_()
    weight = torch.tensor([[advantage]])
    loss = clipped_loss(log_probs, torch.zeros(1, 1), MASK[:1], weight, clip=0.2)
    loss.sum().backward()
    assert log_probs.grad is not None
    assert bool(log_probs.grad.abs().sum() > 0) == moves


def test_padding_counts_nothing():
    log_probs = torch.tensor([[-1.0, -3.0, 99.0]])
    mask = torch.tensor([[True, True, False]])
    loss = clipped_loss(log_probs, log_probs, mask, torch.tensor([[2.0]]), clip=0.2)
    assert loss.tolist() == [-2.0]
    assert kl_loss(log_probs, log_probs - 1, mask).tolist() == [0.5]


def test_kl_loss_has_the_gradient_of_the_reverse_kl():
    theta, log_probs = policy()
    probabilities = THETA.softmax(0)
    rows = kl_loss(log_probs, REFERENCE[ALL_TOKENS], MASK)
    (rows * probabilities).sum().backward()
    wanted = THETA.clone().requires_grad_()
    now = wanted.log_softmax(0)
    (now.exp() * (now - REFERENCE)).sum().backward()
    torch.testing.assert_close(theta.grad, wanted.grad)


def test_kl_estimate_is_unbiased_and_never_negative():
    log_probs = THETA.log_softmax(0)
    rows = kl_estimate(log_probs[ALL_TOKENS], REFERENCE[ALL_TOKENS], MASK)
    exact = (log_probs.exp() * (log_probs - REFERENCE)).sum()
    assert float((rows * log_probs.exp()).sum()) == pytest.approx(float(exact), rel=1e-5)
    assert (rows >= 0).all()
