"""A contrast of two arms in a measure: `gain(measure, results, arm, other)`.

A new kind of measure is a class in measured.py and a function here.
"""

from functools import singledispatch
from typing import Any

import polars as pl

from common.errors import NlaError
from common.metrics.auroc import Resampled, mean_of, resampled_auroc
from common.metrics.statistics import ratio_difference
from common.report.fve import BEST_LENGTH, ORIGINAL, Scale, by_pair, scale_of
from common.report.markdown import code
from common.report.measured import (
    NUMBERS,
    Auroc,
    Fve,
    FveShare,
    GainBeyond,
    MeanOf,
    Swapped,
    SwapShare,
    Test,
)
from common.report.paired import (
    CLUSTER,
    ITEM,
    Items,
    NotMeasuredError,
    PairedGain,
    check_clusters,
    count_pairs,
    gain_of_means,
    missing,
)
from common.report.references import SHUFFLED
from common.report.results import Results
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
    scale = _scale(results, measure.beyond)

    def compare(source: str) -> PairedGain:
        rows = _errors(results, source, (ORIGINAL,), scale.column).rename({ORIGINAL: "value"})
        return gain_of_means(results, Items(rows, -1 / scale.variance, 1.0), arm, other)

    found, readers = compare(measure.source), results.readers(measure.source)
    return found._replace(by_reader={reader: compare(reader).difference for reader in readers})


@gain.register
def _(measure: FveShare, results: Results, arm: str, other: str | float) -> PairedGain:
    assert isinstance(other, str), "a share is one of another arm's FVE"
    scale = _scale(results, measure.beyond)
    rows = _errors(results, measure.source, (ORIGINAL,), scale.column)
    rows = rows.with_columns(fve=1 - pl.col(ORIGINAL) / scale.variance)
    both = _of(rows, arm).join(_of(rows, other), on=SEED_ITEM, suffix="_other")
    own = both.select(*SEED_ITEM, part="fve", whole="fve_other")
    found = _gain_of_shares(results, own, own.with_columns(part=0.0, whole=1.0), other)
    return found._replace(pairs=count_pairs(results, _of(rows, arm)))


@gain.register
def _(measure: MeanOf, results: Results, arm: str, other: str | float) -> PairedGain:
    return gain_of_means(
        results, Items(results.measures.filter(measure=measure.measure)), arm, other
    )


@gain.register
def _(measure: Swapped, results: Results, arm: str, other: str | float) -> PairedGain:
    scale = _scale(results, measure.beyond)

    rows = _errors(results, measure.source, (ORIGINAL, measure.transform), scale.column)
    rows = rows.with_columns(value=pl.col(measure.transform) - pl.col(ORIGINAL))
    return gain_of_means(results, Items(rows, 1 / scale.variance), arm, other)


@gain.register
def _(measure: SwapShare, results: Results, arm: str, other: str | float) -> PairedGain:
    transforms = (ORIGINAL, measure.transform, SHUFFLED)
    rows = _errors(results, measure.source, transforms).select(
        "arm",
        *SEED_ITEM,
        part=pl.col(measure.transform) - pl.col(ORIGINAL),
        whole=pl.col(SHUFFLED) - pl.col(ORIGINAL),
    )
    own = _of(rows, arm)
    against = (
        _of(rows, other) if isinstance(other, str) else own.with_columns(part=other, whole=1.0)
    )
    return _gain_of_shares(results, own, against, other)


@gain.register
def _(measure: GainBeyond, results: Results, arm: str, other: str | float) -> PairedGain:
    assert isinstance(other, str), "a gain is one over another arm"
    columns = {"part": measure.beyond, "whole": BEST_LENGTH}
    frames = [
        _errors(results, measure.source, (ORIGINAL,), _scale(results, beyond).column).rename(
            {ORIGINAL: name}
        )
        for name, beyond in columns.items()
    ]
    rows = frames[0].join(frames[1], on=["arm", *SEED_ITEM], maintain_order="left")
    saved = _of(rows, other).join(_of(rows, arm), on=SEED_ITEM, suffix="_arm")
    saved = saved.select(*SEED_ITEM, *(pl.col(name) - pl.col(f"{name}_arm") for name in columns))
    found = _gain_of_shares(results, saved, saved.with_columns(part=0.0, whole=1.0), other)
    return found._replace(pairs=count_pairs(results, _of(rows, arm)))


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
    estimates = pl.DataFrame({"seed": seeds, "value": [one.estimate for one in found]})
    return PairedGain(
        whole.interval(),
        by_pair(results, estimates, pl.col("value")),
        count_pairs(results, own),
        other,
        lambda _, null: whole.p_value(null),
    )


def _scale(results: Results, beyond: int | None = None) -> Scale:
    scale = scale_of(results, beyond)
    if scale is None and beyond:
        raise NotMeasuredError(f"nothing was measured{NUMBERS[beyond]}")
    if scale is None:
        raise NotMeasuredError("there is no variance to measure FVE against")
    return scale


def _errors(
    results: Results, source: str, transforms: tuple[str, ...], column: str = "squared_error"
) -> pl.DataFrame:
    """arm, seed, key, cluster and errors in a column for each transform, all applied."""
    rows = results.rows.filter(
        "applied", pl.col("transform").is_in(transforms), source=source
    ).rename({DOC_ID: CLUSTER})
    wide = rows.pivot(on="transform", index=["arm", *SEED_ITEM], values=column)
    if lacking := [name for name in transforms if name not in wide.columns]:
        raise NotMeasuredError(f"{code(source)} has no {listed(lacking)}")
    return wide.drop_nulls(list(transforms)).sort("arm", KEY, "seed")


def _of(rows: pl.DataFrame, arm: str) -> pl.DataFrame:
    if (own := rows.filter(arm=arm)).is_empty():
        raise missing(arm)
    return own


def _gain_of_shares(
    results: Results, own: pl.DataFrame, against: pl.DataFrame, other: str | float
) -> PairedGain:
    """Mean `part` over mean `whole`, minus the same of the other; resampled together."""
    both = _averaged(own).join(_averaged(against), on=ITEM, suffix="_other", maintain_order="left")
    check_clusters(both)
    shared = own.join(against, on=SEED_ITEM, suffix="_other").sort(KEY, "seed")
    means = {name: by_pair(results, shared, pl.col(name)) for name in SHARES}
    shares = {
        pair: _ratio(means, pair, "") - _ratio(means, pair, "_other") for pair in means["part"]
    }
    part, whole, part_other, whole_other = (both[name] for name in SHARES)
    resamples = results.facts["resamples"]
    return PairedGain(
        ratio_difference(part, whole, part_other, whole_other, both[CLUSTER], resamples),
        shares,
        count_pairs(results, own),
        other,
        _no_p_value,
    )


def _averaged(rows: pl.DataFrame) -> pl.DataFrame:
    """Mean over seeds."""
    return (
        rows.sort(KEY, "seed")
        .group_by(ITEM, maintain_order=True)
        .agg(pl.col("part", "whole").mean())
    )


def _ratio(means: dict[str, dict[int, float]], pair: int, suffix: str) -> float:
    """NaN where the denominator is not positive."""
    part, whole = means[f"part{suffix}"][pair], means[f"whole{suffix}"][pair]
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
