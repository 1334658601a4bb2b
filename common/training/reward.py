"""The reward of a sampled explanation, and how many of its tokens an AR reads."""

import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.errors import NlaError
from common.metrics.fve import normalize
from common.rollout.engine import Rollouts
from common.seeding import keyed_random
from common.training.rewarder import Reading

log = logging.getLogger(__name__)


class Scored(NamedTuple):
    """One rollout and the rewards of its explanations; rows as in `Rollouts`."""

    rollouts: Rollouts
    texts: list[str]
    """The texts as the AV wrote them."""
    readings: list[Reading]
    """What the AR reads: whole texts or their first tokens, after the channel."""
    valid: Bool[Tensor, " rows"]
    rewards: Float[Tensor, " rows"]
    weights: Float[Tensor, "rows #time"]
    """Weight of each token in the policy's loss: its advantage, or 1 in the best of its group."""
    errors: Float[Tensor, " rows"]
    """Squared errors of the AR that learns; without one, means over the rewarder's readers."""
    reconstructions: Float[Tensor, "rows d_model"] | None
    """Reconstructions of the AR, with their graph, if it learns from them; None: it reads again."""
    reference: Float[Tensor, "rows time"] | None = None
    """Log-probabilities of the tokens under the reference; None where no KL is needed."""


def reading_rewards(
    read: Float[Tensor, "rows d_model"],
    activations: Float[Tensor, "rows d_model"],
    kind: Literal["mse", "log_mse"],
) -> Float[Tensor, " rows"]:
    """Minus the normalised squared error, 2 (1 - cosine), or minus its logarithm."""
    errors = (normalize(read) - normalize(activations)).square().mean(1)
    return -errors if kind == "mse" else -(errors + 1e-6).log()


def checked_rewards(
    rewards: Float[Tensor, "groups samples"],
    valid: Bool[Tensor, "groups samples"],
    invalid_reward: float,
) -> tuple[Float[Tensor, "groups samples"], Bool[Tensor, "groups samples"]]:
    """Give the group's worst reward, at most `invalid_reward`, to samples that are invalid.

    Samples whose reward is not finite count as invalid. Also returns which samples are valid.
    NlaError when no reward at all is finite: the AR has diverged.
    """
    finite = torch.isfinite(rewards)
    if not finite.any():
        remedy = "lower rl.ar_learning_rate, or set trainer.precision to 32-true"
        raise NlaError("the AR's reconstructions are not finite", where="reward", remedy=remedy)
    if lost := int((~finite).sum()):
        log.warning("%d of %d rewards are not finite and count as invalid", lost, finite.numel())
    good = valid & finite
    worst = torch.where(good, rewards, torch.inf).amin(1, keepdim=True).clamp(max=invalid_reward)
    return torch.where(good, rewards, worst), good


def truncation_budgets(
    key: Sequence[object], names: list[str], most: int
) -> Int[Tensor, " groups"]:
    """How many tokens of each group's explanations the AR reads: 1 to `most`, drawn by `key`."""
    draws = [keyed_random("truncation", *key, name).randint(1, most) for name in names]
    return torch.tensor(draws)
