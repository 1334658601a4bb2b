"""Tables of arms by metrics: the numbers of a report, before they are formatted or drawn.

Errors are averaged over seeds for each activation first: an interval is about documents, and the
range over seeds is given beside it.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import polars as pl

from common.metrics.statistics import Interval, fve_difference, fve_interval, share_surviving
from common.report.results import CONTROL, Results

ORIGINAL = "original"
ALL_QUOTES = ("quotes_stripped", "random_stripped")
VERBATIM = ("verbatim_stripped", "verbatim_random_stripped")
"""A transform that strips quotes, and its control for the amount of text removed."""
SURVIVAL = ("quotes_only", *ALL_QUOTES, *VERBATIM, "paraphrase", "full_paraphrase")
PREFIX = "prefix_"
FEWEST_DOCUMENTS = 20
"""With fewer documents a bootstrap is unreliable: there is an estimate without bounds."""
UNDEFINED = Interval(math.nan, math.nan, math.nan)
"""Bounds for fewer than two documents, which have no interval."""
MEASURES = ["squared_error", "cosine", "raw_squared_error"]
TEXT_OF_SEED = ["key", "doc_id", "seed"]

Errors = dict[tuple[str, str], pl.DataFrame]
"""{(transform, arm): key, doc_id and the measures averaged over seeds, sorted by key}."""


class ArmRow(NamedTuple):
    """One arm, or floor, on one source of explanations; None means "not measured"."""

    arm: str
    is_floor: bool
    seeds: dict[int, float]
    """FVE of each training seed."""
    activations: int
    documents: int
    fve: Interval
    difference: Interval | None
    """Paired FVE minus that of control, on activations (for arms also seeds) that both have."""
    cosine: float | None
    raw_fve: float | None
    top1: float | None
    """Share of explanations that pick their own activation among the distractors."""
    mrr: float | None
    transforms: dict[str, Interval]
    """FVE under further transforms, such as `shuffled`."""


class SurvivalRow(NamedTuple):
    """How much of an arm's FVE remains when its explanations are transformed."""

    arm: str
    transform: str
    coverage: float
    """Share of the explanations that could be transformed; only these are used here."""
    original: Interval
    """FVE of the unchanged explanations of the same activations."""
    fve: Interval
    share: Interval
    """`fve` / `original`."""


class PrefixRow(NamedTuple):
    """FVE of the first `tokens` explanation tokens."""

    arm: str
    tokens: int
    coverage: float
    """Share of the explanations that have so many tokens; only these are used here."""
    fve: Interval
    marginal: float | None
    """FVE gained per token since the next shorter prefix, on explanations that have both."""


def too_few_documents(results: Results) -> bool:
    """Whether there are too few documents for any statement."""
    return 0 < results.documents < FEWEST_DOCUMENTS


def arm_table(
    results: Results, source: str, transforms: Sequence[str] = ("shuffled", "source_text")
) -> list[ArmRow]:
    """One row per arm, control first, then one per floor; what was not measured is left out."""
    errors = mean_errors(results, source)
    return [
        _arm_row(results, source, arm, errors, transforms)
        for arm in [*results.arms, *results.floors]
        if (ORIGINAL, arm) in errors
    ]


def survival_table(
    results: Results, source: str, transforms: Sequence[str] = SURVIVAL
) -> list[SurvivalRow]:
    """One row per arm and transform, each with the original of the same activations."""
    return [
        _survival_row(results, rows, transform)
        for rows in _by_arm(results, source)
        for transform in transforms
        if transform in rows["transform"]
    ]


def quote_effects(
    results: Results, source: str, pair: tuple[str, str] = VERBATIM
) -> dict[str, Interval]:
    """FVE without quotes minus FVE without random spans of as many words, paired, by arm.

    Negative if quotes carry more than other words. Arms without the `pair` of transforms are left
    out.
    left out.
    """
    errors = joint_errors(results, source, pair)
    return {arm: _difference(results, frame, *pair) for arm, frame in errors.items()}


def prefix_table(results: Results, source: str) -> list[PrefixRow]:
    """One row per arm and prefix length, the shortest first."""
    table: list[PrefixRow] = []
    for rows in _by_arm(results, source):
        names = rows["transform"].unique().to_list()
        lengths = [int(name.removeprefix(PREFIX)) for name in names if name.startswith(PREFIX)]
        shorter: int | None = None
        for tokens in sorted(lengths):
            table.append(_prefix_row(results, rows, tokens, shorter))
            shorter = tokens
    return table


def joint_errors(
    results: Results, source: str, transforms: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """{arm: key, doc_id, seeds and squared errors in a column for each transform}.

    On the explanations to which all `transforms` could be applied; arms without any are left out.
    """
    frames = {rows["arm"][0]: _joint(rows, transforms) for rows in _by_arm(results, source)}
    return {arm: frame for arm, frame in frames.items() if frame.height}


def difference_of_fve(results: Results, errors: pl.DataFrame, other: pl.DataFrame) -> Interval:
    """FVE of `errors` minus FVE of `other`, frames of `mean_errors`, on the activations of both."""
    pairs = errors.join(other, on=["key", "doc_id"], suffix="_other", maintain_order="left")
    return _difference(results, pairs, "squared_error", "squared_error_other")


def mean_errors(results: Results, source: str) -> Errors:
    """Errors averaged over seeds for each activation; rows not applied are left out."""
    frame = (
        results.rows.filter((pl.col("source") == source) & pl.col("applied"))
        .sort("transform", "arm", "key", "seed")
        .group_by("transform", "arm", "key", "doc_id", maintain_order=True)
        .agg(pl.col(MEASURES).mean())
    )
    groups = frame.partition_by("transform", "arm", as_dict=True, maintain_order=True)
    return {(str(transform), str(arm)): group for (transform, arm), group in groups.items()}


def _arm_row(
    results: Results, source: str, arm: str, errors: Errors, transforms: Sequence[str]
) -> ArmRow:
    frame = errors[ORIGINAL, arm]
    rows = results.rows.filter(pl.col("applied"), source=source, arm=arm, transform=ORIGINAL)
    rows = rows.sort("key", "seed")
    return ArmRow(
        arm=arm,
        is_floor=arm in results.floors,
        seeds=_fve_by_seed(results, rows),
        activations=frame.height,
        documents=frame["doc_id"].n_unique(),
        fve=_fve(results, frame),
        difference=None if arm == CONTROL else _to_control(results, source, arm),
        cosine=_mean(frame["cosine"]),
        raw_fve=_raw_fve(results, frame),
        top1=_mean(rows["retrieval_rank"] == 1),
        mrr=_mean(1 / rows["retrieval_rank"]),
        transforms={
            transform: _fve(results, errors[transform, arm])
            for transform in transforms
            if (transform, arm) in errors
        },
    )


def _to_control(results: Results, source: str, arm: str) -> Interval:
    """Paired by seed too, except for a floor, whose every seed is compared with all seeds."""
    rows = results.rows.filter("applied", source=source, transform=ORIGINAL).sort(TEXT_OF_SEED)
    on = TEXT_OF_SEED[:2] if arm in results.floors else TEXT_OF_SEED
    own, control = rows.filter(arm=arm), rows.filter(arm=CONTROL)
    pairs = own.join(control, on=on, suffix="_other", maintain_order="left_right")
    columns = ["squared_error", "squared_error_other"]
    means = pairs.group_by("key", "doc_id", maintain_order=True).agg(pl.col(columns).mean())
    return _difference(results, means, *columns)


def _by_arm(results: Results, source: str) -> list[pl.DataFrame]:
    """The rows of each arm that has originals on this source."""
    frames = [results.rows.filter(source=source, arm=arm) for arm in results.arms]
    return [rows for rows in frames if ORIGINAL in rows["transform"]]


def _joint(rows: pl.DataFrame, transforms: Sequence[str]) -> pl.DataFrame:
    """`joint_errors` of one arm.

    Paired by seed, since each seed may have explanations of its own, and then averaged over seeds.
    """
    applied = rows.filter("applied").sort("key", "seed")
    columns = [
        applied.filter(transform=name).select(*TEXT_OF_SEED, pl.col("squared_error").alias(name))
        for name in transforms
    ]
    joined = reduce(lambda a, b: a.join(b, on=TEXT_OF_SEED, maintain_order="left"), columns)
    return joined.group_by("key", "doc_id", maintain_order=True).agg(
        pl.len().alias("seeds"), pl.col(list(transforms)).mean()
    )


def _survival_row(results: Results, rows: pl.DataFrame, transform: str) -> SurvivalRow:
    pairs = _joint(rows, (transform, ORIGINAL))
    return SurvivalRow(
        arm=rows["arm"][0],
        transform=transform,
        coverage=_coverage(rows, pairs),
        original=_fve(results, pairs, ORIGINAL),
        fve=_fve(results, pairs, transform),
        share=_interval(share_surviving, results, pairs, transform, ORIGINAL),
    )


def _prefix_row(
    results: Results, rows: pl.DataFrame, tokens: int, shorter: int | None
) -> PrefixRow:
    name, marginal = f"{PREFIX}{tokens}", None
    pairs = _joint(rows, (name, ORIGINAL))
    if shorter is not None:
        both = _joint(rows, (name, f"{PREFIX}{shorter}"))
        gain = _mean(both[f"{PREFIX}{shorter}"] - both[name])
        scale = results.facts["variance"] * (tokens - shorter)
        marginal = None if gain is None else gain / scale
    return PrefixRow(
        rows["arm"][0], tokens, _coverage(rows, pairs), _fve(results, pairs, name), marginal
    )


def _coverage(rows: pl.DataFrame, applied: pl.DataFrame) -> float:
    """Share of an arm's explanations that are in a frame of `_joint`."""
    originals = rows.filter(pl.col("applied"), transform=ORIGINAL).height
    return float(applied["seeds"].sum()) / originals if originals else 0.0


def _fve(results: Results, errors: pl.DataFrame, column: str = "squared_error") -> Interval:
    return _interval(fve_interval, results, errors, column)


def _difference(results: Results, pairs: pl.DataFrame, column: str, other: str) -> Interval:
    """FVE of one column of squared errors minus FVE of another."""
    return _interval(fve_difference, results, pairs, column, other)


def _interval(
    statistic: Callable[..., Interval], results: Results, errors: pl.DataFrame, *columns: str
) -> Interval:
    """A bootstrap by document of columns of squared errors, where there are enough documents."""
    documents, variance = errors["doc_id"].to_list(), results.facts["variance"]
    if len(set(documents)) < 2:
        return UNDEFINED
    values = [errors[column].to_numpy() for column in columns]
    found = statistic(*values, documents, variance, resamples=results.facts["resamples"])
    enough = len(set(documents)) >= FEWEST_DOCUMENTS
    return found if enough else UNDEFINED._replace(estimate=found.estimate)


def _fve_by_seed(results: Results, rows: pl.DataFrame) -> dict[int, float]:
    means = (
        rows.sort("key").group_by("seed", maintain_order=True).agg(pl.col("squared_error").mean())
    )
    variance = results.facts["variance"]
    return {seed: 1 - error / variance for seed, error in sorted(means.iter_rows())}


def _raw_fve(results: Results, errors: pl.DataFrame) -> float | None:
    error, variance = _mean(errors["raw_squared_error"]), results.facts.get("raw_variance")
    return None if error is None or variance is None else 1 - error / variance


def _mean(values: pl.Series) -> float | None:
    mean = values.mean()
    return float(mean) if isinstance(mean, int | float) else None
