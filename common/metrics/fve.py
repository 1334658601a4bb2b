"""Fraction of variance explained (FVE): how much of an activation its reconstruction gives back.

`n(v) = sqrt(d) * v / ||v||` removes the length of an activation, and
`FVE = 1 - mean ||n(ĥ) - n(h)||² / mean ||n(h) - μ||²` compares directions against the mean one.
1 is perfect, 0 is as good as μ itself, and a wrong explanation scores below 0.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import NlaError

EPSILON = 1e-8
"""Added to the squared length, inside the root, so that the gradient at a zero vector is finite."""


def normalize(vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Scale each vector to length sqrt(d_model), in float32 or better; zero stays zero."""
    vectors = _precise(vectors)
    squared_length = vectors.square().sum(-1, keepdim=True)
    return vectors * (vectors.shape[-1] / (squared_length + EPSILON)).sqrt()


def training_mean(activations: Float[Tensor, "batch d_model"]) -> Float[Tensor, "d_model"]:
    """μ, the mean of `normalize(h)` over the training documents.

    μ is shorter than sqrt(d_model) and must stay so: scaling it up again inflates FVE by several
    points, because μ then no longer is the best constant prediction.
    """
    return normalize(activations).mean(0)


def variance(activations: Float[Tensor, "batch d_model"], mean: Float[Tensor, "d_model"]) -> float:
    """Mean squared distance of `normalize(h)` from μ: one constant for each evaluated split."""
    return float((normalize(activations) - mean).square().sum(-1).mean())


def squared_errors(
    predictions: Float[Tensor, "batch d_model"], activations: Float[Tensor, "batch d_model"]
) -> Float[Tensor, "batch"]:
    """||n(ĥ) - n(h)||² of each row, in [0, 4 d_model]."""
    return (normalize(predictions) - normalize(activations)).square().sum(-1)


def raw_squared_errors(
    predictions: Float[Tensor, "batch d_model"], activations: Float[Tensor, "batch d_model"]
) -> Float[Tensor, "batch"]:
    """||ĥ - h||² of each row, in squared units of the residual stream."""
    return (_precise(predictions) - _precise(activations)).square().sum(-1)


def cosines(
    predictions: Float[Tensor, "batch d_model"], activations: Float[Tensor, "batch d_model"]
) -> Float[Tensor, "batch"]:
    """Cosine of ĥ and h of each row, in [-1, 1]; 0 where either is zero."""
    return (normalize(predictions) * normalize(activations)).mean(-1)


def normalized_mse(
    predictions: Float[Tensor, "batch d_model"], activations: Float[Tensor, "batch d_model"]
) -> Float[Tensor, ""]:
    """The training loss: mean of ||n(ĥ) - n(h)||² / d_model = 2 (1 - cosine), in [0, 4]."""
    return (normalize(predictions) - normalize(activations)).square().mean()


def fve(squared_errors: Float[Tensor, "batch"], variance: float) -> float:
    """1 - mean squared error / variance, in (-∞, 1].

    Raises:
        NlaError: without rows, or where the activations do not vary.
    """
    if squared_errors.numel() == 0:
        raise NlaError("FVE of no rows")
    if not variance > 0:
        raise NlaError(f"FVE needs activations that vary, their variance is {variance}")
    return 1 - float(squared_errors.mean()) / variance


def raw_fve(
    predictions: Float[Tensor, "batch d_model"],
    activations: Float[Tensor, "batch d_model"],
    mean_raw: Float[Tensor, "d_model"],
) -> float:
    """FVE at the raw scale, lengths included, against the raw training mean."""
    spread = (_precise(activations) - mean_raw).square().sum(-1)
    return fve(raw_squared_errors(predictions, activations), float(spread.mean()))


def marginal_fve(prefix_fve: dict[int, float]) -> dict[int, float]:
    """FVE gained per token between consecutive prefix lengths, keyed by the longer length.

    Give length 0, the empty explanation, to learn what the first tokens are worth.
    """
    lengths = sorted(prefix_fve)
    return {
        longer: (prefix_fve[longer] - prefix_fve[shorter]) / (longer - shorter)
        for shorter, longer in pairwise(lengths)
    }


def _precise(vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Float32 or better: squares of residual norms overflow float16 and blur in bfloat16."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))
