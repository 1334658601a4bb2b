"""Intervals and tests whose unit is the document: rows of one document are not independent.

A resample draws as many documents as there are, with replacement, and takes all their rows; its
mean is the ratio of the drawn sums and counts. The same `key` and documents give the same resamples
for every arm. Where an arm has several seeds, average its errors per key over the seeds before.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from common.errors import NlaError
from common.metrics.resampling import check_resamples, draws, finite_column, rows_of_documents
from common.seeding import keyed_seed


class Interval(NamedTuple):
    """A point estimate and its percentile bootstrap bounds."""

    estimate: float
    low: float
    high: float


def clustered_bootstrap(
    values: ArrayLike,
    documents: ArrayLike,
    resamples: int = 2000,
    level: float = 0.95,
    key: str = "bootstrap",
) -> Interval:
    """Mean of `values` over rows, with bounds from resampling whole documents.

    Args:
        values: one finite number for each row.
        documents: document id of each row; at least two distinct ones.
        resamples: bootstrap resamples.
        level: coverage of the interval, in (0, 1).
        key: seed of the draw.

    Raises:
        NlaError: for columns of different lengths, values that are not finite, rows without a
            document, fewer than two documents, or no resamples.
    """
    column = finite_column(values)
    (means,) = _means([column], documents, resamples, key)
    return _interval(float(column.mean()), means, level)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    documents: ArrayLike,
    resamples: int = 2000,
    level: float = 0.95,
    key: str = "bootstrap",
) -> Interval:
    """Mean of `a - b` over the same rows; arguments and errors as in `clustered_bootstrap`."""
    return clustered_bootstrap(_differences(a, b), documents, resamples, level, key)


def paired_p_value(
    a: ArrayLike, b: ArrayLike, documents: ArrayLike, resamples: int = 2000, key: str = "bootstrap"
) -> float:
    """Two-sided p-value of a zero mean of `a - b`: the test that `paired_difference` inverts.

    In [least_p_value(resamples), 1].
    """
    (means,) = _means([_differences(a, b)], documents, resamples, key)
    rarer_side = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, (rarer_side + 1) * least_p_value(resamples))


def least_p_value(resamples: int) -> float:
    """The smallest `paired_p_value` that this number of resamples can give."""
    return 2 / (resamples + 1)


def sign_flip_p_value(values: ArrayLike, documents: ArrayLike, resamples: int = 2000) -> float:
    """Two-sided p-value of a zero mean, if each document's sum could as well have the other sign.

    For values that are zero in most documents a bootstrap gives too small p-values: for four
    documents of one sign .03, where this test gives .125. Exact if there are no more sign patterns
    than `resamples`.
    Errors as in `clustered_bootstrap`, but one document is enough.
    """
    from scipy.stats import permutation_test  # slow to import, and every run imports this file

    column = finite_column(values)
    sums = np.bincount(rows_of_documents(documents, [column]), weights=column)
    check_resamples(resamples)
    if np.count_nonzero(sums) < 2:
        return 1.0  # both signs of one document are as far from zero
    found = permutation_test(
        (sums[sums != 0],),
        lambda drawn, axis: np.abs(drawn.sum(axis)),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        alternative="greater",
        rng=np.random.default_rng(keyed_seed("signs")),
    )
    return float(found.pvalue)


def fve_interval(
    squared_errors: ArrayLike,
    documents: ArrayLike,
    variance: float,
    resamples: int = 2000,
    level: float = 0.95,
    key: str = "bootstrap",
) -> Interval:
    """FVE of some rows; `variance` is the constant of their split and is not resampled."""
    explained = _explained(squared_errors, variance)
    return clustered_bootstrap(explained, documents, resamples, level, key)


def fve_difference(
    squared_errors_a: ArrayLike,
    squared_errors_b: ArrayLike,
    documents: ArrayLike,
    variance: float,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """FVE of a minus FVE of b on the same rows: positive where a explains more."""
    a, b = _explained(squared_errors_a, variance), _explained(squared_errors_b, variance)
    return paired_difference(a, b, documents, resamples, level)


def share_surviving(
    transformed: ArrayLike,
    original: ArrayLike,
    documents: ArrayLike,
    variance: float,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """FVE of transformed explanations over FVE of the originals, on the same rows.

    A share of zero is undefined: the estimate is NaN unless the originals' FVE is positive, and the
    bounds are NaN unless it is positive in every resample too.

    Args:
        transformed: squared errors of the transformed explanations, only rows where it applied.
        original: squared errors of the originals, on those same rows.
        documents: document id of each row.
        variance: the constant of the split.
        resamples: bootstrap resamples.
        level: coverage of the interval, in (0, 1).
    """
    columns = [_explained(transformed, variance), _explained(original, variance)]
    kept, whole = _means(columns, documents, resamples, "bootstrap")
    kept_mean, whole_mean = float(columns[0].mean()), float(columns[1].mean())
    if whole_mean <= 0:
        return Interval(np.nan, np.nan, np.nan)
    if whole.min() <= 0:
        return Interval(kept_mean / whole_mean, np.nan, np.nan)
    return _interval(kept_mean / whole_mean, kept / whole, level)


def ratio_difference(
    numerator_a: ArrayLike,
    denominator_a: ArrayLike,
    numerator_b: ArrayLike,
    denominator_b: ArrayLike,
    documents: ArrayLike,
    resamples: int = 2000,
) -> Interval:
    """Mean of numerator a over mean of denominator a, minus the same of b; 95 % bounds.

    Numerators and denominators are resampled together, the same documents in all four, so that the
    bounds include the scatter of the denominators. As in `share_surviving`, the estimate is NaN
    unless both denominators are positive, the bounds unless they are so in every resample.

    Args:
        numerator_a: one finite number for each row, such as a loss.
        denominator_a: what the numerator is a share of, on the same rows.
        numerator_b: as `numerator_a`, for the other side of the comparison.
        denominator_b: what `numerator_b` is a share of, on the same rows.
        documents: document id of each row.
        resamples: bootstrap resamples.
    """
    columns = [finite_column(c) for c in (numerator_a, denominator_a, numerator_b, denominator_b)]
    a, whole_a, b, whole_b = _means(columns, documents, resamples, "bootstrap")
    mean_a, mean_whole_a, mean_b, mean_whole_b = (float(column.mean()) for column in columns)
    if min(mean_whole_a, mean_whole_b) <= 0:
        return Interval(np.nan, np.nan, np.nan)
    estimate = mean_a / mean_whole_a - mean_b / mean_whole_b
    if min(whole_a.min(), whole_b.min()) <= 0:
        return Interval(estimate, np.nan, np.nan)
    return _interval(estimate, a / whole_a - b / whole_b, 0.95)


def excludes_zero(interval: Interval) -> bool:
    """Whether the whole interval lies on one side of zero; never for undefined bounds."""
    return interval.low > 0 or interval.high < 0


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values for their number (Holm 1979), in the order given; each in [0, 1].

    NlaError for a value that is no p-value.
    """
    if not all(0 <= p_value <= 1 for p_value in p_values):
        raise NlaError(f"p-values outside of [0, 1]: {p_values}")
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values)[order] * factors)
    return np.minimum(adjusted, 1).tolist()


def check_variance(variance: float) -> None:
    """NlaError unless a denominator of FVE is positive and finite."""
    if not 0 < variance < math.inf:
        raise NlaError(f"FVE needs activations that vary, their variance is {variance}")


def _differences(a: ArrayLike, b: ArrayLike) -> Float[np.ndarray, "rows"]:
    column_a, column_b = finite_column(a), finite_column(b)
    if column_a.shape != column_b.shape:
        raise NlaError(f"paired columns of {column_a.size} and {column_b.size} rows")
    return column_a - column_b


def _explained(squared_errors: ArrayLike, variance: float) -> Float[np.ndarray, "rows"]:
    """1 - error / variance of each row: FVE is its mean."""
    check_variance(variance)
    return 1 - finite_column(squared_errors) / variance


def _means(
    columns: list[Float[np.ndarray, "rows"]], documents: ArrayLike, resamples: int, key: str
) -> Float[np.ndarray, "columns resamples"]:
    """Mean of each column in each resample; all columns see the same documents drawn."""
    index = rows_of_documents(documents, columns)
    weights = draws(index, resamples, key)
    sums = np.stack([np.bincount(index, weights=column) for column in columns])
    return (sums @ weights.T) / (weights @ np.bincount(index))


def _interval(estimate: float, resampled: Float[np.ndarray, "resamples"], level: float) -> Interval:
    if not 0 < level < 1:
        raise NlaError(f"an interval of level {level}", remedy="choose one in (0, 1), as 0.95")
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))
