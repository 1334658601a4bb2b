"""Judgements that decision rules are made of; each reason is "" where an arm passes."""

from collections.abc import Callable, Sequence

import polars as pl

from common.metrics.statistics import Interval, holm, paired_p_value
from common.report.markdown import bounds, code, fixed
from common.report.results import CONTROL, Results
from common.report.tables import (
    FEWEST_DOCUMENTS,
    ORIGINAL,
    ArmRow,
    arm_table,
    difference_of_fve,
    joint_errors,
    mean_errors,
)
from common.schema import DOC_ID, KEY

NOT_MEASURED = "not measured"


def arm_rows(results: Results, source: str) -> dict[str, ArmRow]:
    """The rows of `arm_table` by arm."""
    return {row.arm: row for row in arm_table(results, source)}


def not_above_floors(results: Results, source: str, arm: str) -> str:
    """Why an arm is not shown to beat the best floor on this writer's text, nor zero."""
    rows = arm_rows(results, source)
    if arm not in rows:
        return NOT_MEASURED
    if not rows[arm].fve.low > 0:
        return f"its FVE, {bounds(rows[arm].fve)}, is not shown to be above zero"
    ceilings = results.facts.get("ceilings", [])
    floors = [row for row in rows.values() if row.is_floor and row.arm not in ceilings]
    if not floors:
        return "no floor was measured"
    best = max(floors, key=lambda row: row.fve.estimate).arm
    errors = mean_errors(results, source)
    over = difference_of_fve(results, errors[ORIGINAL, arm], errors[ORIGINAL, best])
    if over.low > 0:
        return ""
    return f"not shown to be above the best floor, {code(best)}: difference {bounds(over)}"


def beyond_margin(results: Results, source: str, arm: str, margin: float) -> str:
    """Why an arm is not shown to lose less than `margin` FVE against the control.

    Both the interval of the paired difference and the difference of every seed must lie above
    -margin.
    """
    difference = arm_rows(results, source)[arm].difference
    if difference is None or not difference.low > -margin:
        return f"difference to the control {bounds(difference)}"
    by_seed = seed_differences(results, source, arm)
    beyond = [f"{fixed(gap)} (seed {seed})" for seed, gap in by_seed.items() if not gap > -margin]
    if beyond or not by_seed:
        return f"difference to the control of the same seed {', '.join(beyond) or NOT_MEASURED}"
    return ""


def seed_differences(results: Results, source: str, arm: str) -> dict[int, float]:
    """FVE minus the control's by training seed of both, on the same activations."""
    rows = results.rows.filter(pl.col("applied"), source=source, transform=ORIGINAL)
    own, control = rows.sort(KEY, "seed").filter(arm=arm), rows.filter(arm=CONTROL)
    gaps = (
        own.join(control, on=[KEY, DOC_ID, "seed"], suffix="_control", maintain_order="left")
        .group_by("seed", maintain_order=True)
        .agg((pl.col("squared_error_control") - pl.col("squared_error")).mean())
        .sort("seed")
    )
    return {seed: gap / results.facts["variance"] for seed, gap in gaps.iter_rows()}


def until_failure(
    arms: Sequence[str], reason: Callable[[str], str]
) -> tuple[list[str], str, list[str]]:
    """Test arms in an order fixed beforehand: those that pass, why the next fails, and the rest.

    Stopping at the first failure needs no correction for the number of arms.
    """
    for place, arm in enumerate(arms):
        if failure := reason(arm):
            return list(arms[:place]), failure, list(arms[place:])
    return list(arms), "", []


def corrected_p_values(results: Results, source: str, pair: tuple[str, str]) -> dict[str, float]:
    """p-value of a zero difference between two transforms by arm, Holm's correction over arms.

    Arms whose explanations hold too few documents with both are left out.
    """
    one, other = pair
    p_values = {
        arm: paired_p_value(errors[one], errors[other], errors[DOC_ID], results.facts["resamples"])
        for arm, errors in joint_errors(results, source, pair).items()
        if errors[DOC_ID].n_unique() >= FEWEST_DOCUMENTS
    }
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def trainable_parameters(results: Results, arm: str) -> int:
    """How many parameters of an arm are trained."""
    return int(results.runs.filter(pl.col("arm") == arm)["trainable_parameters"].to_list()[0])


def stopped_early(results: Results) -> list[str]:
    """A sentence for each run that ended before its time."""
    stopped = results.facts.get("stopped_early", {})
    return [f"{code(run)} was stopped early: {reason}." for run, reason in stopped.items()]


def seeds_named(count: int) -> str:
    """`these 3 seeds`: what a verdict holds for."""
    return f"these {count} seeds" if count > 1 else "this one seed"


def listed(arms: Sequence[str]) -> str:
    """Names of arms for a sentence."""
    return ", ".join(map(code, arms))


def points_elsewhere(interval: Interval) -> str:
    """What to add to `not shown` when the whole interval lies below zero."""
    return (
        f" (the difference points the other way: {bounds(interval)})" if interval.high < 0 else ""
    )
