"""How one activation compares with those that a pair was tested on, and trained on."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from common.metrics.fve import normalize

KEPT = 0.9
"""Share of the training activations' variance that counts as familiar."""


class Familiar(NamedTuple):
    """The common part of the training activations."""

    mean: Float[Tensor, " d_model"]
    """μ, the mean of n(h)."""
    directions: Float[Tensor, "kept d_model"]
    """Orthonormal; the fewest directions that hold `KEPT` of the variance of n(h)."""


class Standing(NamedTuple):
    """The test results of a pair."""

    cosines: list[float]
    """Percentiles 0 to 100 of the cosines of the round trip."""
    novelties: list[float]
    """Percentiles 0 to 100 of the test activations' novelty."""
    familiar: Familiar
    """The common part of the training activations."""
    fve: float
    """FVE of the round trip."""


def familiar(activations: Float[Tensor, "batch d_model"]) -> Familiar:
    """Mean and main directions of `normalize(h)`."""
    rows = normalize(activations)
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean))  # ascending
    shares = values.flip(0).cumsum(0) / values.sum()
    count = int((shares < KEPT).sum()) + 1
    return Familiar(mean, vectors.T.flip(0)[:count].contiguous())


def novelty(
    activations: Float[Tensor, "batch d_model"], known: Familiar
) -> Float[Tensor, " batch"]:
    """Share of each activation outside the familiar directions around μ; 0 or more."""
    deviations = normalize(activations) - known.mean
    inside = (deviations @ known.directions.T).square().sum(-1)
    return (deviations.square().sum(-1) - inside).clamp(min=0) / activations.shape[-1]


def percentiles(values: Float[Tensor, " rows"]) -> list[float]:
    """The percentiles 0 to 100."""
    return torch.quantile(values.float(), torch.linspace(0, 1, 101)).tolist()


def percent_below(value: float, among: Sequence[float]) -> int:
    """How many per cent of the percentiles `among` lie below a value, 0 to 100."""
    return round(100 * bisect_left(among, value) / len(among))
