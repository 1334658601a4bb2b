"""FVE beyond the last tokens: how much of what a simpler predictor leaves open an answer fills.

A `base` is the best prediction of n(h) from the last k tokens of the source text alone; with k = 0
it is μ. An answer that only repeats what these tokens say adds nothing to it:

    base' = μ + a₀ (base - μ)
    stack = μ + a (base - μ) + b (answer - μ)
    beyond = 1 - mean ||n(h) - stack||² / mean ||n(h) - base'||²

The scalars are fitted by least squares on dev rows and kept for all others. Both sides have such a
scale, so that an answer equal to its base scores 0. 1 is perfect, and an answer that misleads on
new documents scores below 0. Beyond nothing (k = 0) it is FVE with the answer's best length.
"""

from typing import NamedTuple

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


class Stack(NamedTuple):
    """The scalars of base and answer."""

    base: float
    answer: float = 0.0


def fit_stack(
    mean: Float[Tensor, " d_model"],
    activations: Vectors,
    base: Vectors,
    answers: Vectors | None = None,
) -> Stack:
    """Least squares on dev rows; without answers the scale a₀ of the base alone.

    Where several pairs of scalars are best, as with a base that is μ or a multiple of the answer,
    the smallest, in units of each part's size: a part of size 0 gets 0.

    Args:
        mean: μ of the training documents.
        activations: raw, of the dev rows.
        base: predictions of n(h), in its units.
        answers: any vectors; μ is taken away from them, too.

    Raises:
        NlaError: without rows, for shapes that differ, or for what is not finite.
    """
    parts = [base] if answers is None else [base, answers]
    truth, parts = _checked(mean, activations, parts)
    columns = torch.stack([part.flatten() for part in parts], 1)
    lengths = columns.norm(dim=0)
    columns = columns / lengths.where(lengths > 0, 1.0)
    gram, products = columns.T @ columns, columns.T @ truth.flatten()
    found = torch.linalg.pinv(gram, rtol=1e-10, hermitian=True) @ products
    return Stack(*(found / lengths.where(lengths > 0, 1.0)).tolist())


def stack_errors(
    stack: Stack,
    mean: Float[Tensor, " d_model"],
    activations: Vectors,
    base: Vectors,
    answers: Vectors | None = None,
) -> Float[Tensor, " rows"]:
    """||n(h) - stack||² of each row, in float64; without answers ||n(h) - base'||².

    Raises:
        NlaError: for shapes that differ, or for what is not finite.
    """
    parts = [base] if answers is None else [base, answers]
    if not len(activations):
        return torch.zeros(0, dtype=torch.float64)
    truth, parts = _checked(mean, activations, parts)
    for scalar, part in zip(stack, parts, strict=False):
        truth = truth - scalar * part
    return truth.square().sum(-1)


def better_form(
    mean: Float[Tensor, " d_model"], activations: Vectors, answers: Vectors
) -> tuple[Vectors, bool]:
    """The dev answers as given or as n(ĥ), and whether the latter: what has the smaller error.

    Each has its own best length. A predictor of least squares is short where it is uncertain, which
    is lost by normalising; a trained AR's lengths mean nothing. As given, where both are equal.
    """
    nothing = mean.expand(len(answers), -1)
    forms = [answers, normalize(answers)]
    errors = [
        float(stack_errors(fit_stack(*rows), *rows).mean())
        for form in forms
        for rows in [(mean, activations, nothing, form)]
    ]
    is_normal = errors[1] < errors[0]
    return forms[is_normal], is_normal


def beyond(errors: Float[Tensor, " rows"], of_base: float) -> float:
    """1 - mean error of the stack / mean error of the scaled base, in (-∞, 1].

    NlaError without rows, or where the base leaves nothing open.
    """
    return fve(errors, of_base)


def _checked(mean: Tensor, activations: Tensor, parts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
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
