"""Which tokens of a sampled explanation are credited with which reward."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.config import RLConfig
from common.rollout.engine import Rollouts
from common.training.objectives import best_of_group, group_advantages


def token_weights(
    config: RLConfig,
    rollouts: Rollouts,
    rewards: Float[Tensor, "groups samples"],
    valid: Bool[Tensor, "groups samples"],
    rewards_of_first: Callable[[int], Float[Tensor, " rows"]],
) -> Float[Tensor, "rows #time"]:
    """Weights in the policy's loss: advantages, or which sample is the best of a group.

    Later tokens earn no credit for the reward of the first ones: `rewards_of_first(n)` are the
    rewards of the first `n` tokens of each row; it is called only with `config.credit_after`.
    """
    if config.algorithm == "best_of":
        return best_of_group(rewards, valid).view(-1, 1)
    whole = group_advantages(rewards, config.scale_advantages).view(-1, 1)
    if not config.credit_after or config.trained == "ar":  # whose loss asks for no weights
        return whole
    earlier = rewards_of_first(config.credit_after).view_as(rewards)
    earlier = torch.where(earlier.isfinite(), earlier, rewards)
    rest = group_advantages(rewards, config.scale_advantages, earlier).view(-1, 1)
    return torch.where(first_tokens(rollouts, config.credit_after), whole, rest)


def first_tokens(
    rollouts: Rollouts, count: Int[Tensor, " rows"] | int
) -> Bool[Tensor, "#rows time"]:
    """True on the first `count` tokens; one count for all rows, or one for each."""
    device = rollouts.ids.device
    columns = torch.arange(rollouts.ids.shape[1], device=device)
    return columns < torch.as_tensor(count, device=device).view(-1, 1)
