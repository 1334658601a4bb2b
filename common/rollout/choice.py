"""The next token: probabilities of the vocabulary, and the token that a draw selects."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from common.target.parts import logits_of

STRETCH = 256
"""Tokens in a block; block sums are searched first, then the tokens of one block."""


def probabilities_of(
    model: Any, hidden: Float[Tensor, "rows d_model"], temperature: float
) -> Float[Tensor, "rows vocab"]:
    """Probabilities of the token after each state; at temperature 0 those of temperature 1."""
    logits = logits_of(model, hidden)
    return (logits / temperature if temperature else logits).softmax(-1)


def pick(
    probabilities: Float[Tensor, "rows vocab"], draws: Float[Tensor, " rows"] | None
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"]]:
    """The next token of each row, by its draw or the most likely, and its log-probability."""
    chosen = probabilities.argmax(-1) if draws is None else choose(probabilities, draws)
    return chosen, probabilities.gather(1, chosen[:, None]).squeeze(1).log()


def choose(
    probabilities: Float[Tensor, "rows vocab"], draws: Float[Tensor, " rows"]
) -> Int[Tensor, " rows"]:
    """The token that each draw selects: the inverse of the CDF.

    In two steps, first the block of tokens and then the token in it: a running sum over the whole
    vocabulary would take longer than reading the probabilities.
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
    """Index where a running sum first exceeds `wanted`; the last index if rounding prevents it."""
    last = (reached < reached[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum(torch.searchsorted(reached, wanted, right=True), last)
