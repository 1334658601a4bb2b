"""What a sampled explanation is worth, and what an AR gets to read of it."""

import logging
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.errors import NlaError
from common.metrics.fve import normalize
from common.rollout.engine import Engine, Rollouts
from common.rollout.sampler import own_engine
from common.seeding import keyed_random

log = logging.getLogger(__name__)

Splice = Callable[[list[str], Tensor], Tensor]
"""Keys and reconstructions [keys x samples, d_model] → KL in nats of each row."""


class Surroundings(NamedTuple):
    """What reinforcement learning needs to know beside models and settings."""

    variance: float
    """Of the dev activations: the fixed denominator of `dev_fve`."""
    seed: int
    precision: str = "32-true"
    """As in TrainerConfig."""
    engine: Engine = own_engine
    """What samples."""
    splice: Splice | None = None


class Scored(NamedTuple):
    """One rollout and what its explanations are worth; rows as in `Rollouts`."""

    rollouts: Rollouts
    texts: list[str]
    """What the AR reads: whole, or the first tokens."""
    valid: Bool[Tensor, " rows"]
    rewards: Float[Tensor, " rows"]
    weights: Float[Tensor, "rows #time"]
    """Of each token in the policy's loss: advantages, or who is best."""
    log_probs: Float[Tensor, "rows time"] | None
    """Of the reference; None where no KL is asked for."""
    answers: Float[Tensor, "rows d_model"] | None
    """Of the AR, with its graph, where it learns from them; None where it reads again."""


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
    """The group's worst reward, at most `invalid_reward`, for what is invalid or not finite.

    Also returns which samples are neither. NlaError when no reward at all is finite: the AR has
    diverged.
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
    """How many tokens of each group's explanations the AR reads: 1 to `most`, by key."""
    draws = [keyed_random("truncation", *key, name).randint(1, most) for name in names]
    return torch.tensor(draws)
