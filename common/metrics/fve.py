"""Fraction of variance explained (FVE): how much of an activation its reconstruction recovers.

`n(v) = sqrt(d) * v / ||v||` removes the length of an activation, and
`FVE = 1 - mean ||n(ĥ) - n(h)||² / mean ||n(h) - μ||²` compares directions against the mean one.
1 is perfect, 0 is as good as μ itself, and a wrong explanation scores below 0.
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import NlaError
from common.metrics.statistics import check_variance

EPSILON = 1e-8
"""Added to the squared length, inside the root, so that the gradient at a zero vector is finite."""


def normalize(vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Scale each vector to length sqrt(d_model), in float32 or better; zero stays zero.

    A vector that is not finite gives NaN.
    """
    vectors = _precise(vectors)
    # Squares of very short and very long vectors leave float32: scale the largest entry to 1.
    largest = vectors.detach().abs().amax(-1, keepdim=True)
    vectors = vectors / largest.where(largest > 0, 1.0)
    squared_length = vectors.square().sum(-1, keepdim=True)
    return vectors * (vectors.shape[-1] / (squared_length + EPSILON)).sqrt()


def training_mean(activations: Float[Tensor, "batch d_model"]) -> Float[Tensor, "d_model"]:
    """μ, the mean of `normalize(h)` over the training documents.

    μ is shorter than sqrt(d_model) and must stay so: scaling it up again inflates FVE by several
    points, because μ then no longer is the best constant prediction.

    Raises:
        NlaError: without rows, or for activations that are not finite.
    """
    mean = normalize(activations).mean(0)
    if not mean.isfinite().all():
        raise NlaError(f"no mean direction of {len(activations)} activations: it is not finite")
    return mean


def variance(activations: Float[Tensor, "batch d_model"], mean: Float[Tensor, "d_model"]) -> float:
    """Mean squared distance of `normalize(h)` from μ: one constant for each evaluated split.

    Raises:
        NlaError: without rows, for another width, or for activations that are not finite.
    """
    _check_width(mean, activations)
    spread = float((normalize(activations) - mean).square().sum(-1).mean())
    if not math.isfinite(spread):
        raise NlaError(f"no variance of {len(activations)} activations: it is {spread}")
    return spread


def squared_errors(
    predictions: Float[Tensor, "batch d_model"], activations: Float[Tensor, "batch d_model"]
) -> Float[Tensor, "batch"]:
    """||n(ĥ) - n(h)||² of each row, in [0, 4 d_model]."""
    _check_rows(predictions, activations)
    return (normalize(predictions) - normalize(activations)).square().sum(-1)


def raw_squared_errors(
    predictions: Float[Tensor, "batch d_model"], activations: Float[Tensor, "batch d_model"]
) -> Float[Tensor, "batch"]:
    """||ĥ - h||² of each row, in squared units of the residual stream."""
    _check_rows(predictions, activations)
    return (_precise(predictions) - _precise(activations)).square().sum(-1)


def cosines(
    predictions: Float[Tensor, "batch d_model"], activations: Float[Tensor, "batch d_model"]
) -> Float[Tensor, "batch"]:
    """Cosine of ĥ and h of each row, in [-1, 1]; 0 where either is zero."""
    _check_rows(predictions, activations)
    return (normalize(predictions) * normalize(activations)).mean(-1)


def normalized_mse(
    predictions: Float[Tensor, "batch d_model"], activations: Float[Tensor, "batch d_model"]
) -> Float[Tensor, ""]:
    """The training loss: mean of ||n(ĥ) - n(h)||² / d_model = 2 (1 - cosine), in [0, 4]."""
    _check_rows(predictions, activations)
    return (normalize(predictions) - normalize(activations)).square().mean()


def fve(squared_errors: Float[Tensor, "batch"], variance: float) -> float:
    """1 - mean squared error / variance, in (-∞, 1].

    Raises:
        NlaError: without rows, for errors that are not finite, or as in `check_variance`.
    """
    if squared_errors.numel() == 0:
        raise NlaError("FVE of no rows")
    if squared_errors.ndim != 1:
        raise NlaError(f"FVE of errors of shape {tuple(squared_errors.shape)}, not one each row")
    if unknown := int((~squared_errors.isfinite()).sum()):
        raise NlaError(f"{unknown} of {len(squared_errors)} squared errors are not finite")
    check_variance(variance)
    return 1 - float(squared_errors.mean()) / variance


def raw_fve(
    predictions: Float[Tensor, "batch d_model"],
    activations: Float[Tensor, "batch d_model"],
    mean_raw: Float[Tensor, "d_model"],
) -> float:
    """FVE at the raw scale, lengths included, against the raw training mean."""
    _check_width(mean_raw, activations)
    spread = (_precise(activations) - mean_raw).square().sum(-1)
    return fve(raw_squared_errors(predictions, activations), float(spread.mean()))


def marginal_fve(prefix_fve: dict[int, float]) -> dict[int, float]:
    """FVE gained per token between consecutive prefix lengths, keyed by the longer length.

    Include length 0, the empty explanation, to learn what the first tokens add.
    """
    lengths = sorted(prefix_fve)
    return {
        longer: (prefix_fve[longer] - prefix_fve[shorter]) / (longer - shorter)
        for shorter, longer in pairwise(lengths)
    }


def _check_rows(predictions: Tensor, activations: Tensor) -> None:
    """Different shapes would be broadcast, and every row compared with the same activation."""
    if predictions.ndim != 2 or predictions.shape != activations.shape:
        shapes = f"{tuple(predictions.shape)} with activations {tuple(activations.shape)}"
        raise NlaError(f"cannot compare predictions {shapes}", remedy="give one row for each")


def _check_width(mean: Tensor, activations: Tensor) -> None:
    if activations.ndim != 2 or mean.shape != activations.shape[1:]:
        shapes = f"{tuple(mean.shape)} of activations {tuple(activations.shape)}"
        raise NlaError(f"no mean direction {shapes}", remedy="give rows and the mean of such rows")


def _precise(vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Float32 or better: squares of residual norms overflow float16 and are inexact in bfloat16."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))
