"""The table of arms by metrics: the numbers of a report, before they are formatted or drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from common.metrics.statistics import Interval
from common.report.fve import (
    ORIGINAL,
    TEXT_OF_SEED,
    Errors,
    Scale,
    by_pair,
    difference_of,
    fve_of,
    mean_errors,
    mean_of,
    scales_of,
)
from common.report.results import CONTROL, Results


class ArmRow(NamedTuple):
    """One arm, or floor, on one source of explanations; None means "not measured"."""

    arm: str
    is_floor: bool
    pairs: dict[int, float]
    """FVE of each warm-started pair."""
    activations: int
    documents: int
    fve: Interval
    beyond: dict[int, Interval]
    """FVE beyond the last 0 (FVE with the answer's best length), 1 and 4 source tokens."""
    beyond_by_pair: dict[int, float]
    """FVE beyond the last token of each pair."""
    difference: Interval | None
    """Paired FVE minus that of control, on activations (for arms also seeds) that both have."""
    cosine: float | None
    raw_fve: float | None
    top1: float | None
    """Share of explanations that pick their own activation among the distractors."""
    mrr: float | None
    transforms: dict[str, Interval]
    """FVE under further transforms, such as `shuffled`."""


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


def _arm_row(
    results: Results, source: str, arm: str, errors: Errors, transforms: Sequence[str]
) -> ArmRow:
    frame, scales = errors[ORIGINAL, arm], scales_of(results)
    rows = _originals(results, source).filter(arm=arm)
    measured = {k: scale for k, scale in scales.items() if not frame[scale.column].has_nulls()}

    def of_pairs(scale: Scale) -> dict[int, float]:
        return by_pair(results, rows, 1 - pl.col(scale.column) / scale.variance)

    return ArmRow(
        arm=arm,
        is_floor=arm in results.floors,
        pairs=of_pairs(Scale(variance=results.facts["variance"])),
        activations=frame.height,
        documents=frame["doc_id"].n_unique(),
        fve=fve_of(results, frame),
        beyond={k: fve_of(results, frame, scale=scale) for k, scale in measured.items()},
        beyond_by_pair=of_pairs(measured[1]) if 1 in measured else {},
        difference=None if arm == CONTROL else _to_control(results, source, arm),
        cosine=mean_of(frame["cosine"]),
        raw_fve=_raw_fve(results, frame),
        top1=mean_of(rows["retrieval_rank"] == 1),
        mrr=mean_of(1 / rows["retrieval_rank"]),
        transforms={
            transform: fve_of(results, errors[transform, arm])
            for transform in transforms
            if (transform, arm) in errors
        },
    )


def _originals(results: Results, source: str) -> pl.DataFrame:
    return results.rows.filter("applied", source=source, transform=ORIGINAL).sort(TEXT_OF_SEED)


def _to_control(results: Results, source: str, arm: str) -> Interval:
    """Paired by seed too, except for a floor, whose every seed is compared with all seeds."""
    rows = _originals(results, source)
    on = TEXT_OF_SEED[:2] if arm in results.floors else TEXT_OF_SEED
    own, control = rows.filter(arm=arm), rows.filter(arm=CONTROL)
    pairs = own.join(control, on=on, suffix="_other", maintain_order="left_right")
    columns = ("squared_error", "squared_error_other")
    means = pairs.group_by("key", "doc_id", maintain_order=True).agg(pl.col(columns).mean())
    return difference_of(results, means, *columns)


def _raw_fve(results: Results, errors: pl.DataFrame) -> float | None:
    error, variance = mean_of(errors["raw_squared_error"]), results.facts.get("raw_variance")
    return None if error is None or variance is None else 1 - error / variance
