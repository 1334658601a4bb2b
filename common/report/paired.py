"""One arm minus another: differences paired by item and training seed, with their certainty.

An item is measured once for each arm and seed, such as a test activation; items of one cluster,
such as a document, are not independent of one another.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl

from common.metrics.statistics import (
    Interval,
    clustered_bootstrap,
    paired_p_value,
    sign_flip_p_value,
)
from common.report.clauses import BEST_FLOOR
from common.report.fve import FEWEST_DOCUMENTS, UNDEFINED, by_pair
from common.report.markdown import code
from common.report.measured import Test
from common.report.references import knows_more
from common.report.results import Results
from common.schema import KEY

CLUSTER = "cluster"
ITEM = [KEY, CLUSTER]


class NotMeasuredError(Exception):
    """In a few words, why a contrast has no difference."""


class Items(NamedTuple):
    """`value * scale + offset` of each item: arm, seed, key, cluster, value; floors are arms."""

    rows: pl.DataFrame
    scale: float = 1.0
    offset: float = 0.0


class PairedGain(NamedTuple):
    """One arm minus another, or minus a number, on the same items."""

    difference: Interval
    by_pair: dict[int, float]
    """The difference for each pair that both go on from."""
    pairs: int
    """Number of pairs of the arm."""
    other: str | float
    """The other side of the contrast; the best floor by its name."""
    p_value: Callable[[Test, float], float]
    """Test and null value → two-sided p-value over clusters, for the given training runs."""
    by_reader: Mapping[str, Interval] = {}
    """The difference under each of several ARs of which `difference` is the mean."""


def gain_of_means(results: Results, items: Items, arm: str, other: str | float) -> PairedGain:
    """Difference of two arms' means; NotMeasuredError where they have too little in common."""
    own = items.rows.filter(arm=arm)
    if own.is_empty():
        raise missing(arm)
    if other == BEST_FLOOR:
        other = best_floor(results, items)
    pairs = _beside(results, items, own, other).sort(KEY, "seed")
    means = pairs.group_by(ITEM, maintain_order=True).agg(pl.col("value").mean())
    check_clusters(means)
    return PairedGain(
        mean_interval(results, means),
        by_pair(results, pairs, pl.col("value")),
        count_pairs(results, own),
        other,
        partial(_p_of_mean, means, results.facts["resamples"]),
    )


def best_floor(results: Results, items: Items) -> str:
    """The reference that reads most from the text; NotMeasuredError without any.

    Ceilings, and what knows more than the text, are left out.
    """
    ceilings = results.facts.get("ceilings", [])
    floors = [name for name in results.floors if name not in ceilings and not knows_more(name)]
    means = items.rows.filter(pl.col("arm").is_in(floors)).group_by("arm", KEY)
    levels = means.agg(pl.col("value").mean()).group_by("arm").agg(pl.col("value").mean())
    by_arm = {arm: items.scale * value for arm, value in levels.iter_rows()}
    if not by_arm:
        raise NotMeasuredError("no floor was measured")
    return max((floor for floor in floors if floor in by_arm), key=by_arm.__getitem__)


def check_clusters(rows: pl.DataFrame) -> None:
    """NotMeasuredError where there are too few clusters for a bootstrap."""
    if (found := rows[CLUSTER].n_unique()) < FEWEST_DOCUMENTS:
        raise NotMeasuredError(f"of {found} independent items, fewer than {FEWEST_DOCUMENTS}")


def measures_by_arm(results: Results, measure: str) -> dict[str, pl.DataFrame]:
    """{arm: key, cluster and the measure as `value`, averaged over seeds}."""
    means = (
        results.measures.filter(measure=measure)
        .sort("arm", KEY, "seed")
        .group_by("arm", *ITEM, maintain_order=True)
        .agg(pl.col("value").mean())
    )
    groups = means.partition_by("arm", as_dict=True, maintain_order=True)
    return {str(arm): group for (arm,), group in groups.items()}


def mean_interval(results: Results, rows: pl.DataFrame) -> Interval:
    """Mean of `value`, with bounds where the clusters are enough for a bootstrap."""
    clusters = rows[CLUSTER].n_unique()
    if clusters < 2:
        return UNDEFINED
    found = clustered_bootstrap(
        rows["value"].to_numpy(), rows[CLUSTER].to_list(), results.facts["resamples"]
    )
    return found if clusters >= FEWEST_DOCUMENTS else UNDEFINED._replace(estimate=found.estimate)


def measure_means(results: Results, name: str) -> dict[str, Interval]:
    """{arm: mean of a measure}."""
    found = measures_by_arm(results, name)
    return {arm: mean_interval(results, found[arm]) for arm in results.arms if arm in found}


def count_pairs(results: Results, rows: pl.DataFrame) -> int:
    """The number of warm-started pairs that some rows belong to."""
    return len({results.pair_of(seed) for seed in rows["seed"].unique()})


def missing(arm: str) -> NotMeasuredError:
    """The reason where an arm was not measured at all."""
    return NotMeasuredError(f"there is nothing of {code(arm)}")


def _beside(results: Results, items: Items, own: pl.DataFrame, other: str | float) -> pl.DataFrame:
    """key, cluster, seed and `value`: an arm's own values minus the other's."""
    if not isinstance(other, str):
        return own.with_columns(value=pl.col("value") * items.scale + (items.offset - other))
    others, on = items.rows.filter(arm=other), [*ITEM, "seed"]
    if others.is_empty():
        raise missing(other)
    if other in results.floors:  # a floor's seeds do not correspond to an arm's
        others, on = others.sort(KEY, "seed").group_by(ITEM).agg(pl.col("value").mean()), ITEM
    pairs = own.join(others, on=on, suffix="_other", maintain_order="left")
    if pairs.is_empty():
        raise NotMeasuredError(f"it and {code(other)} have no item of one seed in common")
    gains = (pl.col("value") - pl.col("value_other")) * items.scale
    return pairs.select(*ITEM, "seed", value=gains)


def _p_of_mean(means: pl.DataFrame, resamples: int, test: Test, null: float) -> float:
    values, clusters = means["value"].to_numpy(), means[CLUSTER].to_list()
    if test is Test.SIGN_FLIP:
        return sign_flip_p_value(values - null, clusters, resamples)
    return paired_p_value(values, np.full_like(values, null), clusters, resamples)
