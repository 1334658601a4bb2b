"""Draws of whole documents with replacement, and the columns that they are drawn from.

A document is any group of rows that are not independent of one another.
"""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from common.errors import NlaError
from common.seeding import keyed_seed


def finite_column(values: ArrayLike) -> Float[np.ndarray, "rows"]:
    """One finite number for each row, in double precision; NlaError otherwise."""
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise NlaError(f"a column of shape {column.shape}", remedy="give one number for each row")
    if not np.isfinite(column).all():
        raise NlaError(
            f"{int((~np.isfinite(column)).sum())} of {column.size} values are not finite",
            remedy="drop and count the rows where a transform was not applied",
        )
    return column


def rows_of_documents(
    documents: ArrayLike, columns: list[Float[np.ndarray, "rows"]]
) -> Int[np.ndarray, "rows"]:
    """Number of each row's document, in the order of their names.

    NlaError for columns of other lengths, no rows, or a row without a document.
    """
    names = np.asarray(documents)
    lengths = {names.size, *map(len, columns)}
    if len(lengths) > 1 or names.ndim != 1:
        raise NlaError(f"columns of different lengths {sorted(lengths)}")
    if not names.size:
        raise NlaError("statistics of no rows")
    lost = (
        name is None or (isinstance(name, float) and math.isnan(name)) for name in names.tolist()
    )
    if unknown := sum(lost):
        raise NlaError(f"{unknown} of {len(names)} rows have no document", remedy="name all")
    return np.unique(names, return_inverse=True)[1]


def check_resamples(resamples: int) -> None:
    """NlaError when there is none."""
    if resamples < 1:
        raise NlaError(f"{resamples} resamples", remedy="take at least one, better thousands")


def draws(
    rows: Int[np.ndarray, "rows"], resamples: int, key: str
) -> Float[np.ndarray, "resamples documents"]:
    """How often each document occurs in each resample: the same for every statistic of a table.

    Args:
        rows: number of each row's document, as `rows_of_documents` gives it; at least two.
        resamples: how many resamples.
        key: seed of the draw; the same key gives the same resamples.
    """
    if (count := int(rows.max()) + 1) < 2:
        raise NlaError(f"a bootstrap by document needs two documents, found {count}")
    check_resamples(resamples)
    return _draws(count, resamples, key)


@lru_cache(maxsize=4)
def _draws(documents: int, resamples: int, key: str) -> Float[np.ndarray, "resamples documents"]:
    generator = np.random.default_rng(keyed_seed(key))
    drawn = generator.multinomial(documents, np.full(documents, 1 / documents), resamples)
    return drawn.astype(np.float64)
