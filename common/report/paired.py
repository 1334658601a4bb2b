"""Is one arm above another? Differences paired by activation and seed, and what may be said."""

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from common.metrics.statistics import Interval, clustered_bootstrap, holm, sign_flip_p_value
from common.report.markdown import bounds, fixed
from common.report.results import Results
from common.report.tables import FEWEST_DOCUMENTS, ORIGINAL, UNDEFINED
from common.schema import DOC_ID, KEY

LEVEL = 0.05
"""Of a p-value that was corrected for the number of arms."""


class Over(NamedTuple):
    """By how much one arm is above another, and in the seed where it is least."""

    gain: Interval
    worst: float
    seeds: int
    """Training seeds that both arms have."""
    p_value: float
    """Two-sided, of a zero difference: of documents, the training runs being as they are."""

    @property
    def shown(self) -> bool:
        """Interval and every seed above zero."""
        return self.gain.low > 0 and self.worst > 0


def fve_over(results: Results, source: str, arm: str, other: str) -> Over | None:
    """FVE of an arm minus that of another on one source; None where one was not measured."""
    rows = results.rows.filter(pl.col("applied"), source=source, transform=ORIGINAL)
    rows = rows.rename({"squared_error": "value"})
    return _over(results, rows, arm, other, -1 / results.facts["variance"])


def measure_over(results: Results, measure: str, arm: str, other: str) -> Over | None:
    """A measure of an arm's own texts minus that of another's; None where one is missing."""
    return _over(results, results.measures.filter(measure=measure), arm, other, 1.0)


def measures_by_arm(results: Results, measure: str) -> dict[str, pl.DataFrame]:
    """{arm: key, doc_id and the measure as `value`, averaged over seeds}."""
    means = (
        results.measures.filter(measure=measure)
        .sort("arm", KEY, "seed")
        .group_by("arm", KEY, DOC_ID, maintain_order=True)
        .agg(pl.col("value").mean())
    )
    groups = means.partition_by("arm", as_dict=True, maintain_order=True)
    return {str(arm): group for (arm,), group in groups.items()}


def mean_interval(results: Results, rows: pl.DataFrame) -> Interval:
    """Mean of `value`, with bounds where the documents are enough for a bootstrap."""
    if rows[DOC_ID].n_unique() < 2:
        return UNDEFINED
    documents, resamples = rows[DOC_ID].to_list(), results.facts["resamples"]
    found = clustered_bootstrap(rows["value"].to_numpy(), documents, resamples)
    enough = rows[DOC_ID].n_unique() >= FEWEST_DOCUMENTS
    return found if enough else UNDEFINED._replace(estimate=found.estimate)


def corrected(found: Mapping[str, Over]) -> dict[str, float]:
    """{arm: p-value after Holm's correction for the number of arms}."""
    return dict(zip(found, holm([over.p_value for over in found.values()]), strict=True))


def said(over: Over | None) -> str:
    """`shown` or `not shown`."""
    return "shown" if over and over.shown else "not shown"


def told(over: Over | None) -> str:
    """The difference in numbers, to be put after a sentence."""
    assert over
    where = "in the worst seed" if over.seeds > 1 else "in the one seed that both have"
    return f", a difference of {bounds(over.gain)}, {fixed(over.worst)} {where}"


def _over(results: Results, rows: pl.DataFrame, arm: str, other: str, scale: float) -> Over | None:
    """Differences of `value` times `scale`, paired by key and seed."""
    own, others = rows.filter(arm=arm), rows.filter(arm=other)
    pairs = own.join(others, on=[KEY, DOC_ID, "seed"], suffix="_other", maintain_order="left")
    if not pairs.height:
        return None
    gains = pairs.sort(KEY, "seed").select(
        KEY, DOC_ID, "seed", value=(pl.col("value") - pl.col("value_other")) * scale
    )
    means = gains.group_by(KEY, DOC_ID, maintain_order=True).agg(pl.col("value").mean())
    by_seed = gains.group_by("seed").agg(pl.col("value").mean())["value"].to_list()
    interval, p_value = mean_interval(results, means), 1.0
    if means[DOC_ID].n_unique() >= FEWEST_DOCUMENTS:
        values, resamples = means["value"].to_numpy(), results.facts["resamples"]
        p_value = sign_flip_p_value(values, means[DOC_ID].to_list(), resamples)
    return Over(interval, min(by_seed), len(by_seed), p_value)
