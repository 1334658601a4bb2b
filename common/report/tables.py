"""Tables of arms by metrics: the numbers of a report, before any of them is formatted or drawn.

Errors are averaged over seeds for each activation first, so that an interval speaks of documents
and the range over seeds stands beside it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from common.metrics.statistics import (
    Interval,
    fve_difference,
    fve_interval,
    share_surviving,
)
from common.report.results import CONTROL, Results

ORIGINAL = "original"
SURVIVAL = (
    "quotes_only",
    "quotes_stripped",
    "random_stripped",
    "paraphrase",
    "full_paraphrase",
)
PREFIX = "prefix_"
UNDEFINED = Interval(math.nan, math.nan, math.nan)
"""Of fewer than two documents, which have no interval."""
MEASURES = ["squared_error", "cosine", "raw_squared_error"]

Errors = dict[tuple[str, str], pl.DataFrame]
"""{(transform, arm): key, doc_id and the measures averaged over seeds, sorted by key}."""


class ArmRow(NamedTuple):
    """One arm, or floor, on one source of explanations; None is "not measured"."""

    arm: str
    is_floor: bool
    seeds: dict[int, float]
    """FVE of each training seed."""
    activations: int
    documents: int
    fve: Interval
    difference: Interval | None
    """Paired: FVE minus that of control on the activations that both were evaluated on."""
    cosine: float | None
    raw_fve: float | None
    top1: float | None
    """Share of explanations that pick their own activation among the distractors."""
    mrr: float | None
    transforms: dict[str, Interval]
    """FVE under further transforms, such as `shuffled`."""


class SurvivalRow(NamedTuple):
    """What is left of an arm's FVE when its explanations are transformed."""

    arm: str
    transform: str
    coverage: float
    """Share of the explanations that could be transformed; only they count here."""
    original: Interval
    """FVE of the untouched explanations of the same activations."""
    fve: Interval
    share: Interval
    """`fve` / `original`."""


class PrefixRow(NamedTuple):
    """FVE of the first `tokens` explanation tokens."""

    arm: str
    tokens: int
    fve: Interval
    marginal: float | None
    """FVE gained per token since the next shorter prefix."""


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
    """One row per arm and transform, each beside the original of the same activations."""
    return [
        _survival_row(results, rows, transform)
        for rows in _by_arm(results, source)
        for transform in transforms
        if transform in rows["transform"]
    ]


def quote_effects(results: Results, source: str) -> dict[str, Interval]:
    """FVE without quotes minus FVE without random spans of the same length, paired, by arm.

    Negative where quotes carry more than other words do.
    """
    effects: dict[str, Interval] = {}
    for rows in _by_arm(results, source):
        pairs = _paired_errors(rows, "quotes_stripped", "random_stripped")
        if pairs.height:
            effects[rows["arm"][0]] = _difference(results, pairs)
    return effects


def prefix_table(results: Results, source: str) -> list[PrefixRow]:
    """One row per arm and prefix length, the shortest first."""
    errors = mean_errors(results, source)
    names = {transform for transform, _ in errors if transform.startswith(PREFIX)}
    lengths = sorted(int(name.removeprefix(PREFIX)) for name in names)
    rows: list[PrefixRow] = []
    for arm in results.arms:
        previous: PrefixRow | None = None
        for tokens in lengths:
            if (frame := errors.get((f"{PREFIX}{tokens}", arm))) is not None:
                previous = _prefix_row(arm, tokens, _fve(results, frame), previous)
                rows.append(previous)
    return rows


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
    control = errors.get((ORIGINAL, CONTROL), frame.clear())
    pairs = frame.join(control, on=["key", "doc_id"], suffix="_other", maintain_order="left")
    rows = results.rows.filter(pl.col("applied"), source=source, arm=arm, transform=ORIGINAL)
    rows = rows.sort("key", "seed")
    return ArmRow(
        arm=arm,
        is_floor=arm in results.floors,
        seeds=_fve_by_seed(results, rows),
        activations=frame.height,
        documents=frame["doc_id"].n_unique(),
        fve=_fve(results, frame),
        difference=None if arm == CONTROL else _difference(results, pairs),
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


def _by_arm(results: Results, source: str) -> list[pl.DataFrame]:
    """The rows of each arm that has originals on this source."""
    frames = [results.rows.filter(source=source, arm=arm) for arm in results.arms]
    return [rows for rows in frames if ORIGINAL in rows["transform"]]


def _paired_errors(rows: pl.DataFrame, transform: str, other: str) -> pl.DataFrame:
    """Errors of two transforms of one arm, on the explanations to which both could be applied.

    Paired by seed, since each seed may have explanations of its own, and then averaged over seeds.
    """
    applied = rows.filter("applied").sort("key", "seed")
    return (
        applied.filter(transform=transform)
        .join(
            applied.filter(transform=other),
            on=["key", "doc_id", "seed"],
            suffix="_other",
            maintain_order="left",
        )
        .group_by("key", "doc_id", maintain_order=True)
        .agg(pl.len().alias("seeds"), pl.col("squared_error", "squared_error_other").mean())
    )


def _survival_row(results: Results, rows: pl.DataFrame, transform: str) -> SurvivalRow:
    pairs = _paired_errors(rows, transform, ORIGINAL)
    originals = rows.filter(pl.col("applied"), transform=ORIGINAL).height
    share = UNDEFINED
    if pairs["doc_id"].n_unique() > 1:
        share = share_surviving(
            pairs["squared_error"].to_numpy(),
            pairs["squared_error_other"].to_numpy(),
            pairs["doc_id"].to_list(),
            results.facts["variance"],
            resamples=results.facts["resamples"],
        )
    return SurvivalRow(
        arm=rows["arm"][0],
        transform=transform,
        coverage=float(pairs["seeds"].sum()) / originals if originals else 0.0,
        original=_fve(results, pairs.select("doc_id", squared_error="squared_error_other")),
        fve=_fve(results, pairs),
        share=share,
    )


def _prefix_row(arm: str, tokens: int, fve: Interval, previous: PrefixRow | None) -> PrefixRow:
    if previous is None:
        return PrefixRow(arm, tokens, fve, None)
    gain = fve.estimate - previous.fve.estimate
    return PrefixRow(arm, tokens, fve, gain / (tokens - previous.tokens))


def _fve(results: Results, errors: pl.DataFrame) -> Interval:
    if errors["doc_id"].n_unique() < 2:
        return UNDEFINED
    return fve_interval(
        errors["squared_error"].to_numpy(),
        errors["doc_id"].to_list(),
        results.facts["variance"],
        resamples=results.facts["resamples"],
    )


def _difference(results: Results, pairs: pl.DataFrame) -> Interval:
    """FVE of `squared_error` minus FVE of `squared_error_other`."""
    if pairs["doc_id"].n_unique() < 2:
        return UNDEFINED
    return fve_difference(
        pairs["squared_error"].to_numpy(),
        pairs["squared_error_other"].to_numpy(),
        pairs["doc_id"].to_list(),
        results.facts["variance"],
        resamples=results.facts["resamples"],
    )


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
