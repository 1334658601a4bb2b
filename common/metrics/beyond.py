"""FVE beyond the last tokens: how much of what simpler predictors leave open an answer fills.

A `base` is a prediction of n(h) from the last k tokens of the source text alone, and there may be
several; `claim` is what a base would predict if the word that the explanation itself quotes as the
last one were the true one.

    base' = μ + Σ aᵢ' (baseᵢ - μ)
    stack = μ + Σ aᵢ (baseᵢ - μ) + c (claim - μ) + b (answer - μ)
    beyond = 1 - mean ||n(h) - stack||² / mean ||n(h) - base'||²

The scalars are fitted by least squares on dev rows and kept for all others. Both sides have scales
of their own, so that an answer equal to a base, or to the claim, scores 0. Without the claim an AV
would score for copying the last word *more often*: a wrong word is noise in the answer, and takes
from all else that it says. 1 is perfect, and an answer that misleads on new documents scores below
0. Beyond nothing (no base, no claim) it is FVE with the answer's best length.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import NlaError
from common.metrics.fve import fve, normalize

Vectors = Float[Tensor, "rows d_model"]


def error_column(count: int) -> str:
    """The column of errors beyond the last `count` tokens."""
    return f"error_{beyond_name(count)}"


def beyond_name(count: int) -> str:
    """The name of FVE beyond the last `count` tokens, and of its denominator."""
    return f"beyond_{count}"


Stack = tuple[float, ...]
"""A scalar for each part."""


def fit_stack(
    mean: Float[Tensor, " d_model"], activations: Vectors, parts: Sequence[Vectors]
) -> Stack:
    """Least squares on dev rows.

    Where several scalars are as good, as with a part that is a multiple of another one, the
    smallest, in units of each part's size: a part of size 0 gets 0.

    Args:
        mean: μ of the training documents.
        activations: raw, of the dev rows.
        parts: predictions of n(h), in its units, or any other vectors; μ is taken away from each.

    Raises:
        NlaError: without rows, for shapes that differ, or for what is not finite.
    """
    truth, parts = _checked(mean, activations, parts)
    if not parts:
        return ()
    columns = torch.stack([part.flatten() for part in parts], 1)
    lengths = columns.norm(dim=0)
    columns = columns / lengths.where(lengths > 0, 1.0)
    gram, products = columns.T @ columns, columns.T @ truth.flatten()
    found = torch.linalg.pinv(gram, rtol=1e-10, hermitian=True) @ products
    return tuple((found / lengths.where(lengths > 0, 1.0)).tolist())


def stack_errors(
    stack: Stack,
    mean: Float[Tensor, " d_model"],
    activations: Vectors,
    parts: Sequence[Vectors],
) -> Float[Tensor, " rows"]:
    """||n(h) - stack||² of each row, in float64.

    Raises:
        NlaError: for shapes that differ, or for what is not finite.
    """
    if not len(activations):
        return torch.zeros(0, dtype=torch.float64)
    truth, parts = _checked(mean, activations, parts)
    for scalar, part in zip(stack, parts, strict=True):
        truth = truth - scalar * part
    return truth.square().sum(-1)


def better_form(
    mean: Float[Tensor, " d_model"], activations: Vectors, answers: Vectors
) -> tuple[Vectors, bool]:
    """The dev answers as given or as n(ĥ), and whether the latter: what has the smaller error.

    Each has its own best length. A predictor of least squares is short where it is uncertain, which
    is lost by normalising; a trained AR's lengths mean nothing. As given, where both are equal.
    """
    forms = [answers, normalize(answers)]
    errors = [
        float(stack_errors(fit_stack(*rows), *rows).mean())
        for form in forms
        for rows in [(mean, activations, [form])]
    ]
    is_normal = errors[1] < errors[0]
    return forms[is_normal], is_normal


def beyond(errors: Float[Tensor, " rows"], of_base: float) -> float:
    """1 - mean error of the stack / mean error of the scaled base, in (-∞, 1].

    NlaError without rows, or where the base leaves nothing open.
    """
    return fve(errors, of_base)


def _checked(
    mean: Tensor, activations: Tensor, parts: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """n(h) - μ and the parts minus μ, in float64."""
    if any(part.shape != activations.shape for part in parts) or not activations.numel():
        shapes = ", ".join(str(tuple(part.shape)) for part in parts)
        what = f"cannot stack {shapes} on activations of shape {tuple(activations.shape)}"
        raise NlaError(what, remedy="give one row for each of at least one activation")
    given = [normalize(activations), *parts]
    if unknown := sum(int((~part.isfinite().all(-1)).sum()) for part in given):
        raise NlaError(f"{unknown} of {len(activations)} rows are not finite")
    truth, *others = (part.double() - mean.double() for part in given)
    return truth, others
