"""A contrast of two arms in a measure: `gain(measure, results, arm, other)`.

A new kind of measure is a class in measured.py and a function here.
"""

from functools import singledispatch
from typing import Any

import polars as pl

from common.errors import NlaError
from common.metrics.auroc import Resampled, mean_of, resampled_auroc
from common.metrics.statistics import Interval, ratio_difference
from common.report.markdown import code
from common.report.measured import Auroc, Fve, MeanOf, ShareLost, Stripped, Test
from common.report.paired import (
    CLUSTER,
    ITEM,
    Items,
    NotMeasuredError,
    PairedGain,
    check_clusters,
    gain_of_means,
    missing,
)
from common.report.results import Results
from common.report.tables import ORIGINAL
from common.report.wording import listed
from common.schema import DOC_ID, KEY

SEED_ITEM = [*ITEM, "seed"]
SHARES = ["part", "whole", "part_other", "whole_other"]


@singledispatch
def gain(measure: Any, results: Results, arm: str, other: str | float) -> PairedGain:
    """How much more of a measure an arm has than another arm, the best floor, or a number.

    Raises:
        NotMeasuredError: where the results hold too little for it, with the reason.
    """
    raise NotImplementedError(f"nothing works out {type(measure).__name__}")


@gain.register
def _(measure: Fve, results: Results, arm: str, other: str | float) -> PairedGain:
    variance = _variance(results)
    rows = _errors(results, measure.source, (ORIGINAL,)).rename({ORIGINAL: "value"})
    return gain_of_means(results, Items(rows, -1 / variance, 1.0), arm, other)


@gain.register
def _(measure: MeanOf, results: Results, arm: str, other: str | float) -> PairedGain:
    return gain_of_means(
        results, Items(results.measures.filter(measure=measure.measure)), arm, other
    )


@gain.register
def _(measure: Stripped, results: Results, arm: str, other: str | float) -> PairedGain:
    variance = _variance(results)
    rows = _errors(results, measure.source, (measure.transform, measure.twin))
    rows = rows.with_columns(value=pl.col(measure.transform) - pl.col(measure.twin))
    return gain_of_means(results, Items(rows, -1 / variance), arm, other)


@gain.register
def _(measure: ShareLost, results: Results, arm: str, other: str | float) -> PairedGain:
    variance = _variance(results)
    rows = _errors(results, measure.source, (ORIGINAL, measure.transform, measure.twin)).select(
        "arm",
        *SEED_ITEM,
        ((pl.col(measure.transform) - pl.col(measure.twin)) / variance).alias("part"),
        (1 - pl.col(ORIGINAL) / variance).alias("whole"),
    )
    own = _of(rows, arm)
    against = (
        _of(rows, other) if isinstance(other, str) else own.with_columns(part=other, whole=1.0)
    )
    both = _averaged(own).join(_averaged(against), on=ITEM, suffix="_other", maintain_order="left")
    check_clusters(both)
    shared = own.join(against, on=SEED_ITEM, suffix="_other")
    seeds = shared.group_by("seed").agg(pl.col(SHARES).mean()).sort("seed")
    return PairedGain(
        _difference_of_shares(both, results.facts["resamples"]),
        {row["seed"]: _share(row, "") - _share(row, "_other") for row in seeds.to_dicts()},
        own["seed"].n_unique(),
        other,
        _no_p_value,
    )


@gain.register
def _(measure: Auroc, results: Results, arm: str, other: str | float) -> PairedGain:
    scores = results.measures.filter(measure=measure.score).select("arm", *SEED_ITEM, "value")
    pairs = own = _of(scores, arm)
    if isinstance(other, str):
        pairs = own.join(_of(scores, other), on=SEED_ITEM, suffix="_other")
    pairs = pairs.join(_labels(results, measure.label), on=KEY).sort(KEY)
    seeds = sorted(pairs["seed"].unique())
    pairs = pairs.filter(pl.len().over(KEY) == len(seeds))
    check_clusters(pairs)
    if pairs["label"].n_unique() < 2:
        raise NotMeasuredError(f"every item has one {measure.label}")
    resamples = results.facts["resamples"]
    found = [_aurocs(pairs.filter(seed=seed), other, resamples) for seed in seeds]
    whole = mean_of(found)
    return PairedGain(
        whole.interval(),
        {seed: one.estimate for seed, one in zip(seeds, found, strict=True)},
        own["seed"].n_unique(),
        other,
        lambda _, null: whole.p_value(null),
    )


def _variance(results: Results) -> float:
    if (variance := results.facts.get("variance")) is None:
        raise NotMeasuredError("there is no variance to measure FVE against")
    return variance


def _errors(results: Results, source: str, transforms: tuple[str, ...]) -> pl.DataFrame:
    """arm, seed, key, cluster and squared errors in a column for each transform, all applied."""
    rows = results.rows.filter(
        pl.col("applied"), pl.col("transform").is_in(transforms), source=source
    ).rename({DOC_ID: CLUSTER})
    wide = rows.pivot(on="transform", index=["arm", *SEED_ITEM], values="squared_error")
    if lacking := [name for name in transforms if name not in wide.columns]:
        raise NotMeasuredError(f"{code(source)} has no {listed(lacking)}")
    return wide.drop_nulls(list(transforms)).sort("arm", KEY, "seed")


def _of(rows: pl.DataFrame, arm: str) -> pl.DataFrame:
    if (own := rows.filter(arm=arm)).is_empty():
        raise missing(arm)
    return own


def _averaged(rows: pl.DataFrame) -> pl.DataFrame:
    """Mean over seeds."""
    return rows.group_by(ITEM, maintain_order=True).agg(pl.col("part", "whole").mean())


def _difference_of_shares(both: pl.DataFrame, resamples: int) -> Interval:
    part, whole, part_other, whole_other = (both[name] for name in SHARES)
    return ratio_difference(part, whole, part_other, whole_other, both[CLUSTER], resamples)


def _share(row: dict[str, Any], suffix: str) -> float:
    """NaN where the denominator is not positive."""
    part, whole = row[f"part{suffix}"], row[f"whole{suffix}"]
    return part / whole if whole > 0 else float("nan")


def _no_p_value(test: Test, null: float) -> float:
    raise NotImplementedError(f"a share has no {test} of {null}")


def _labels(results: Results, label: str) -> pl.DataFrame:
    """Each key with its label; NlaError where arms disagree on an item."""
    labels = results.measures.filter(measure=label).select(KEY, label="value").unique()
    if labels[KEY].n_unique() < labels.height:
        raise NlaError(f"some items have two values of {label}", remedy="give each item one")
    if labels.is_empty():
        raise NotMeasuredError(f"no item has a {label}")
    return labels


def _aurocs(pairs: pl.DataFrame, other: str | float, resamples: int) -> Resampled:
    """AUROC of one seed: the arm's minus the other's."""
    labels, clusters = pairs["label"], pairs[CLUSTER]
    own = resampled_auroc(labels, pairs["value"], clusters, resamples)
    if isinstance(other, str):
        return own.minus(resampled_auroc(labels, pairs["value_other"], clusters, resamples))
    return Resampled(own.estimate - other, own.values - other)
