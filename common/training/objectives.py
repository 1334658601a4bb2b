"""The objectives of reinforcement learning: plain functions on log-probabilities and rewards."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALL = 1e-4
"""Added to a group's standard deviation, so that nearly equal rewards give small advantages."""


def group_advantages(
    rewards: Float[Tensor, "groups samples"],
    scale: bool,
    baselines: Float[Tensor, "groups samples"] | float = 0.0,
) -> Float[Tensor, "groups samples"]:
    """Reward minus the group's mean, with `scale` in units of the group's standard deviation.

    Each reward counts above its baseline, in units of the larger of the two standard deviations:
    where all rewards are alike, baselines that differ would otherwise give unbounded values.
    Source: GRPO (Shao et al. 2024, section 4.1); without the division: Liu et al. 2025.
    """
    exact = rewards.double()  # rewards near -2 differ by thousandths: float32 would show in the sum
    gained = exact - baselines
    centred = gained - gained.mean(1, keepdim=True)
    if scale:
        spreads = [values.std(1, correction=0, keepdim=True) for values in (exact, gained)]
        centred = centred / (torch.maximum(*spreads) + SMALL)
    return centred.to(rewards.dtype)


def best_of_group(
    rewards: Float[Tensor, "groups samples"], valid: Bool[Tensor, "groups samples"]
) -> Float[Tensor, "groups samples"]:
    """1 on the best valid sample of each group, if there is one, else 0."""
    chosen = torch.where(valid, rewards, float("-inf")).argmax(1, keepdim=True)
    return torch.zeros_like(rewards).scatter(1, chosen, 1.0) * valid


def clipped_loss(
    log_probs: Float[Tensor, "rows time"],
    sampled: Float[Tensor, "rows time"],
    mask: Bool[Tensor, "rows time"],
    advantages: Float[Tensor, "rows #time"],
    clip: float,
) -> Float[Tensor, " rows"]:
    """Mean over a row's tokens of -min(ratio A, clipped ratio A).

    `sampled` are the log-probabilities under the policy that wrote the tokens: the ratio corrects
    for the optimiser steps since then. Source: PPO (Schulman et al. 2017, equation 7).
    """
    ratio = (log_probs - sampled).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    return -_row_mean(surrogate, mask)


def kl_loss(
    log_probs: Float[Tensor, "rows time"],
    reference: Float[Tensor, "rows time"],
    mask: Bool[Tensor, "rows time"],
) -> Float[Tensor, " rows"]:
    """Half the squared difference of log-probabilities, mean over a row's tokens.

    On the policy's own samples its gradient is that of KL(policy || reference). The estimator that
    `kl_estimate` reports would, as a loss, have the gradient of KL(reference || policy).
    """
    return _row_mean((log_probs - reference).square() / 2, mask)


def kl_estimate(
    log_probs: Float[Tensor, "rows time"],
    reference: Float[Tensor, "rows time"],
    mask: Bool[Tensor, "rows time"],
) -> Float[Tensor, " rows"]:
    """KL(policy || reference) in nats per token: unbiased, never negative, of low variance.

    Source: Schulman 2020, "Approximating KL divergence", estimator k3.
    """
    difference = reference - log_probs
    return _row_mean(difference.exp() - difference - 1, mask)


def _row_mean(
    values: Float[Tensor, "rows time"], mask: Bool[Tensor, "rows time"]
) -> Float[Tensor, " rows"]:
    return (values * mask).sum(1) / mask.sum(1).clamp(min=1)
