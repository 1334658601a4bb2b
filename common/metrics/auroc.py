"""Area under the ROC curve: the chance that a positive item has a higher score than a negative.

Ties count half (Hanley and McNeil 1982). A score without meaning has 0.5. Intervals come from a
bootstrap that draws whole documents, the same ones for every scorer of the same items.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from common.errors import NlaError
from common.metrics.resampling import draws, finite_column, rows_of_documents
from common.metrics.statistics import Interval, least_p_value

MOST_UNDEFINED = 0.01
"""Largest share of resamples that may hold one class only; above it there are no bounds."""
AT_ONCE = 100
"""Resamples that are computed together, which bounds the memory."""


class Resampled(NamedTuple):
    """A statistic of some rows and of each resample of their documents; NaN where undefined."""

    estimate: float
    values: Float[np.ndarray, "resamples"]

    def minus(self, other: "Resampled") -> "Resampled":
        """The paired difference of two statistics of the same documents and draws."""
        return Resampled(self.estimate - other.estimate, self.values - other.values)

    def interval(self, level: float = 0.95) -> Interval:
        """Percentile bounds; NaN where more than MOST_UNDEFINED of the resamples are undefined."""
        defined = self.values[~np.isnan(self.values)]
        if math.isnan(self.estimate) or 1 - defined.size / self.values.size > MOST_UNDEFINED:
            return Interval(self.estimate, math.nan, math.nan)
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
        return Interval(self.estimate, float(low), float(high))

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p-value of the statistic being `null`; undefined resamples raise it."""
        if math.isnan(self.estimate):
            return 1.0
        undefined = int(np.isnan(self.values).sum())
        rarer_side = min(int((self.values <= null).sum()), int((self.values >= null).sum()))
        return min(1.0, (rarer_side + undefined + 1) * least_p_value(self.values.size))


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """AUROC in [0, 1]; NaN where all items have one label.

    Args:
        labels: 1 (positive) or 0 of each item.
        scores: one finite number for each item, in any unit; higher means positive.

    Raises:
        NlaError: for other labels, scores that are not finite, or columns of different lengths.
    """
    positive, column = _checked(labels, scores)
    return float(_weighted(positive, column, np.ones((1, column.size)))[0])


def resampled_auroc(
    labels: ArrayLike,
    scores: ArrayLike,
    documents: ArrayLike,
    resamples: int = 2000,
    key: str = "bootstrap",
) -> Resampled:
    """`auroc` of the items and of each resample of their documents.

    Raises:
        NlaError: as in `auroc`; for an item without a document, fewer than two documents, or no
            resamples.
    """
    positive, column = _checked(labels, scores)
    rows = rows_of_documents(documents, [column])
    weights = draws(rows, resamples, key)
    parts = [
        _weighted(positive, column, weights[start : start + AT_ONCE][:, rows])
        for start in range(0, resamples, AT_ONCE)
    ]
    return Resampled(auroc(labels, scores), np.concatenate(parts))


def auroc_difference(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    documents: ArrayLike,
    resamples: int = 2000,
) -> Resampled:
    """AUROC of scorer a minus that of scorer b on the same items."""
    a, b = (resampled_auroc(labels, s, documents, resamples) for s in (scores_a, scores_b))
    return a.minus(b)


def mean_of(found: Sequence[Resampled]) -> Resampled:
    """Mean over training seeds, each resampled by the same draws of the same documents."""
    estimate = float(np.mean([one.estimate for one in found]))
    return Resampled(estimate, np.mean([one.values for one in found], axis=0))


def _checked(
    labels: ArrayLike, scores: ArrayLike
) -> tuple[Bool[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
    column, kinds = finite_column(scores), finite_column(labels)
    if column.size != kinds.size:
        raise NlaError(f"{kinds.size} labels of {column.size} scores")
    if not column.size:
        raise NlaError("AUROC of no items")
    if not np.isin(kinds, (0, 1)).all():
        raise NlaError("labels other than 0 and 1", remedy="1 stands for a positive item")
    return kinds == 1, column


def _weighted(
    positive: Bool[np.ndarray, "rows"],
    scores: Float[np.ndarray, "rows"],
    weights: Float[np.ndarray, "resamples rows"],
) -> Float[np.ndarray, "resamples"]:
    """AUROC of each resample; a weight says how often an item is in it."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] > ranked[:-1]])
    up, down = weights[:, order] * positive[order], weights[:, order] * ~positive[order]
    higher, lower = np.add.reduceat(up, starts, 1), np.add.reduceat(down, starts, 1)
    below = lower.cumsum(1) - lower / 2
    pairs = up.sum(1) * down.sum(1)
    won = (higher * below).sum(1)
    return np.divide(won, pairs, out=np.full(len(pairs), math.nan), where=pairs > 0)
