"""Which token comes next: probabilities of the vocabulary, and the one in which a draw falls."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from common.target.parts import logits_of

STRETCH = 256
"""Tokens whose probabilities are summed up before one of them is looked for."""


def probabilities_of(
    model: Any, hidden: Float[Tensor, "rows d_model"], temperature: float
) -> Float[Tensor, "rows vocab"]:
    """Of the token after each state; at temperature 0 those of temperature 1."""
    logits = logits_of(model, hidden)
    return (logits / temperature if temperature else logits).softmax(-1)


def pick(
    probabilities: Float[Tensor, "rows vocab"], draws: Float[Tensor, " rows"] | None
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"]]:
    """The next token of each row, by its draw or the likeliest, and its log-probability."""
    chosen = probabilities.argmax(-1) if draws is None else choose(probabilities, draws)
    return chosen, probabilities.gather(1, chosen[:, None]).squeeze(1).log()


def choose(
    probabilities: Float[Tensor, "rows vocab"], draws: Float[Tensor, " rows"]
) -> Int[Tensor, " rows"]:
    """The token in which a draw falls: the inverse of the CDF.

    In two steps, the stretch of tokens and then the token in it: a running sum through the whole
    vocabulary would take longer than reading the probabilities does.
    """
    stretches = functional.pad(probabilities, (0, -probabilities.shape[1] % STRETCH))
    stretches = stretches.unflatten(1, (-1, STRETCH))
    sums = stretches.sum(-1)
    reached = sums.cumsum(-1)
    wanted = draws[:, None] * reached[:, -1:]
    stretch = _first_above(reached, wanted)
    wanted = (wanted - (reached - sums).gather(1, stretch)).clamp(min=0)
    inside = stretches.take_along_dim(stretch[..., None], 1).squeeze(1).cumsum(-1)
    return (stretch * STRETCH + _first_above(inside, wanted)).squeeze(1)


def _first_above(reached: Tensor, wanted: Tensor) -> Int[Tensor, "rows 1"]:
    """Where a running sum first exceeds what is wanted; rounded past its end, where it ends."""
    last = (reached < reached[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum(torch.searchsorted(reached, wanted, right=True), last)
