"""Which tokens of a sampled explanation have earned what."""

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
    worth: Callable[[int], Float[Tensor, " rows"]],
) -> Float[Tensor, "rows #time"]:
    """Weights in the policy's loss: advantages, or who is the best of a group.

    What its beginning is worth is no merit of the rest of an explanation: `worth(n)` says what the
    first `n` tokens of each row are, and is asked only where `config.credit_after` wants to know.
    """
    if config.algorithm == "best_of":
        return best_of_group(rewards, valid).view(-1, 1)
    whole = group_advantages(rewards, config.scale_advantages).view(-1, 1)
    if not config.credit_after or config.trained == "ar":  # whose loss asks for no weights
        return whole
    earlier = worth(config.credit_after).view_as(rewards)
    earlier = torch.where(earlier.isfinite(), earlier, rewards)
    rest = group_advantages(rewards, config.scale_advantages, earlier).view(-1, 1)
    return torch.where(first_tokens(rollouts, config.credit_after), whole, rest)


def first_tokens(
    rollouts: Rollouts, count: Int[Tensor, " rows"] | int
) -> Bool[Tensor, "#rows time"]:
    """True on the first `count` tokens, of all rows or of each."""
    device = rollouts.ids.device
    columns = torch.arange(rollouts.ids.shape[1], device=device)
    return columns < torch.as_tensor(count, device=device).view(-1, 1)
