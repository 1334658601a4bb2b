"""Squared errors of arms, averaged over seeds, and FVE of them with intervals.

Errors are averaged for each activation first: an interval is about documents, and the range over
pairs is given beside it.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import polars as pl

from common.metrics.beyond import beyond_name, error_column
from common.metrics.statistics import Interval, fve_difference, fve_interval
from common.report.results import Results

ORIGINAL = "original"
FEWEST_DOCUMENTS = 20
"""With fewer documents a bootstrap is unreliable: there is an estimate without bounds."""
UNDEFINED = Interval(math.nan, math.nan, math.nan)
"""Bounds for fewer than two documents, which have no interval."""
BEST_LENGTH, BEYOND = 0, (1, 4)
"""The numbers of last source tokens beyond which FVE is told; beyond none of them it is FVE with
the answer's best length."""
TEXT_OF_SEED = ["key", "doc_id", "seed"]


class Scale(NamedTuple):
    """A column of errors in `rows`, and the constant variance that its FVE divides by."""

    column: str = "squared_error"
    variance: float = 1.0


Errors = dict[tuple[str, str], pl.DataFrame]
"""{(transform, arm): key, doc_id and the measures averaged over seeds, sorted by key}."""


def too_few_documents(results: Results) -> bool:
    """Whether there are too few documents for any statement."""
    return 0 < results.documents < FEWEST_DOCUMENTS


def scale_of(results: Results, beyond: int | None = None) -> Scale | None:
    """The scale of FVE, or of FVE beyond the last `beyond` tokens; None where it was not measured.

    Errors beyond tokens are those of the stack of an answer and of what these tokens say.
    """
    if beyond is None:
        variance = results.facts.get("variance")
        return None if variance is None else Scale(variance=variance)
    column = error_column(beyond)
    variance = results.facts.get("variances", {}).get(beyond_name(beyond))
    known = column in results.rows.columns and results.rows[column].is_not_null().any()
    return Scale(column, variance) if known and variance is not None else None


def scales_of(results: Results) -> dict[int, Scale]:
    """{beyond: scale} of all that were measured beside FVE."""
    found = {beyond: scale_of(results, beyond) for beyond in (BEST_LENGTH, *BEYOND)}
    return {beyond: scale for beyond, scale in found.items() if scale}


def mean_errors(results: Results, source: str) -> Errors:
    """Errors averaged over seeds for each activation; rows not applied are left out."""
    measures = ["squared_error", "cosine", "raw_squared_error"]
    measures += [scale.column for scale in scales_of(results).values()]
    frame = (
        results.rows.filter("applied", source=source)
        .sort("transform", "arm", "key", "seed")
        .group_by("transform", "arm", "key", "doc_id", maintain_order=True)
        .agg(pl.col(measures).mean())
    )
    groups = frame.partition_by("transform", "arm", as_dict=True, maintain_order=True)
    return {(str(transform), str(arm)): group for (transform, arm), group in groups.items()}


def rows_by_arm(results: Results, source: str) -> list[pl.DataFrame]:
    """The rows of each arm that has originals on this source."""
    frames = [results.rows.filter(source=source, arm=arm) for arm in results.arms]
    return [rows for rows in frames if ORIGINAL in rows["transform"]]


def joint_errors(rows: pl.DataFrame, transforms: Sequence[str]) -> pl.DataFrame:
    """key, doc_id, how many `texts`, and squared errors in a column for each transform, of one arm.

    On the explanations to which all transforms could be applied. Paired by seed, since each seed
    may have explanations of its own, and then averaged.
    """
    applied = rows.filter("applied").sort(TEXT_OF_SEED)
    columns = [
        applied.filter(transform=name).select(*TEXT_OF_SEED, pl.col("squared_error").alias(name))
        for name in transforms
    ]
    joined = reduce(lambda a, b: a.join(b, on=TEXT_OF_SEED, maintain_order="left"), columns)
    return joined.group_by("key", "doc_id", maintain_order=True).agg(
        pl.len().alias("texts"), pl.col(list(transforms)).mean()
    )


def coverage(rows: pl.DataFrame, transform: str, applied: pl.DataFrame) -> float:
    """Share of the explanations that were to be transformed that are in a frame of `joint_errors`.

    Explanations that a transform was never tried on, since it was read for fewer documents, have no
    row and do not count.
    """
    tried = rows.filter(transform=transform).height
    return float(applied["texts"].sum()) / tried if tried else 0.0


def fve_of(
    results: Results, errors: pl.DataFrame, column: str = "", scale: Scale | None = None
) -> Interval:
    """FVE of a column of errors; without a name, of the column of the scale."""
    scale = scale or _plain(results)
    return interval_of(fve_interval, results, errors, scale, column or scale.column)


def difference_of(
    results: Results, pairs: pl.DataFrame, column: str, other: str, scale: Scale | None = None
) -> Interval:
    """FVE of one column of errors minus FVE of another."""
    return interval_of(fve_difference, results, pairs, scale or _plain(results), column, other)


def interval_of(
    statistic: Callable[..., Interval],
    results: Results,
    errors: pl.DataFrame,
    scale: Scale | None,
    *columns: str,
) -> Interval:
    """A bootstrap by document of columns of errors, where there are enough documents."""
    documents, variance = errors["doc_id"].to_list(), (scale or _plain(results)).variance
    if len(set(documents)) < 2:
        return UNDEFINED
    values = [errors[column].to_numpy() for column in columns]
    found = statistic(*values, documents, variance, resamples=results.facts["resamples"])
    enough = len(set(documents)) >= FEWEST_DOCUMENTS
    return found if enough else UNDEFINED._replace(estimate=found.estimate)


def by_pair(results: Results, rows: pl.DataFrame, value: pl.Expr) -> dict[int, float]:
    """{pair: mean of a value}, each seed of a pair counting as much as the others."""
    pairs = pl.col("seed").map_elements(results.pair_of, return_dtype=pl.Int64)
    seeds = rows.group_by("seed").agg(value.mean().alias("value")).sort("seed")
    means = seeds.with_columns(pair=pairs).group_by("pair").agg(pl.col("value").mean())
    return dict(means.select("pair", "value").sort("pair").iter_rows())


def mean_of(values: pl.Series) -> float | None:
    """None for a series without numbers."""
    mean = values.mean()
    return float(mean) if isinstance(mean, int | float) else None


def _plain(results: Results) -> Scale:
    return Scale(variance=results.facts["variance"])
