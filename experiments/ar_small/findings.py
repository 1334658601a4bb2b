"""The decision rule of `ar_small`, applied to collected results, and what only its report shows."""

import polars as pl

from common.metrics.statistics import Interval, excludes_zero
from common.report.render import Section
from common.report.results import CONTROL, Results
from common.report.tables import ArmRow, arm_table, quote_effects
from common.schema import AV, TEACHER

MARGIN = 0.05


def verdict(results: Results) -> str:
    """One line per clause of the decision rule; the first sentence is what the index shows."""
    return "\n".join(
        [_small_enough(results), "", _quotes_are_the_channel(results), "", _small_lean_on_quotes(results)]
    )


def sections(results: Results) -> list[Section]:
    """The loss by stripping quotes beyond the random-span control, arm by arm."""
    lines = ["| arm | teacher text | AV text |", "|---|---|---|"]
    effects = {source: quote_effects(results, source) for source in (TEACHER, AV)}
    for arm in results.arms:
        cells = [_shown(effects[source].get(arm)) for source in (TEACHER, AV)]
        lines.append(f"| {arm} | {cells[0]} | {cells[1]} |")
    text = (
        "FVE without quotes minus FVE without random spans of the same number and length, on the same"
        " explanations (95 % interval, paired, by document). Below zero: a quote carries more than as many"
        " other words. `†` marks an interval that includes zero.\n\n" + "\n".join(lines)
    )
    return [Section("Do quotes carry more than other words?", text)]


def _small_enough(results: Results) -> str:
    rows = [row for row in arm_table(results, AV) if not row.is_floor and row.arm != CONTROL]
    control = next(row for row in arm_table(results, AV) if row.arm == CONTROL)
    passing = [row for row in rows if row.difference and row.difference.low > -MARGIN]
    told = f"control's round-trip FVE is {_shown(control.fve)}"
    if not passing:
        return f"No smaller AR is shown to stay within {MARGIN} FVE of the control on AV text ({told})."
    best = min(passing, key=lambda row: _trainable(results, row.arm))
    return (
        f"The smallest AR shown to stay within {MARGIN} FVE of the control on AV text is `{best.arm}`"
        f" (difference {_shown(best.difference)}, {_trainable(results, best.arm):,} trainable parameters against"
        f" {_trainable(results, CONTROL):,}; {told})."
    )


def _quotes_are_the_channel(results: Results) -> str:
    effects = quote_effects(results, TEACHER)
    shown = [arm for arm, effect in effects.items() if excludes_zero(effect) and effect.estimate < 0]
    others = [arm for arm in effects if arm not in shown]
    line = f"Quotes carry more than other words of the same length for: {_named(shown)}."
    return line + (f" Not shown for: {_named(others)}." if others else "")


def _small_lean_on_quotes(results: Results) -> str:
    rows = {row.arm: row for row in arm_table(results, TEACHER)}
    effects = quote_effects(results, TEACHER)
    depths = [arm for arm in rows if arm.startswith("blocks_") and arm in effects]
    if not depths or CONTROL not in effects:
        return "Whether small ARs lean on quotes more: not measured."
    smallest = min(depths, key=lambda arm: _trainable(results, arm))
    small, control = (_share(effects[arm], rows[arm]) for arm in (smallest, CONTROL))
    if small is None or control is None:
        return f"Whether small ARs lean on quotes more: not shown (the FVE of `{smallest}` or of the control is not above zero)."
    disjoint = small.high < control.low or control.high < small.low
    more = -small.estimate > -control.estimate
    if not disjoint:
        found = "not shown, the intervals overlap"
    else:
        found = "yes" if more else "no, it leans on them less"
    return (
        f"Does `{smallest}` lean on quotes more than the control: {found}. The loss by stripping quotes beyond the"
        f" random-span control, as a share of the arm's own FVE, is {_shown(_negated(small))} against {_shown(_negated(control))}"
        " (the denominator is taken as known)."
    )


def _share(effect: Interval, row: ArmRow) -> Interval | None:
    if row.fve.low <= 0:
        return None
    return Interval(*(part / row.fve.estimate for part in effect))


def _negated(interval: Interval) -> Interval:
    return Interval(-interval.estimate, -interval.high, -interval.low)


def _trainable(results: Results, arm: str) -> int:
    return int(results.runs.filter(pl.col("arm") == arm)["trainable_parameters"].max())


def _shown(interval: Interval | None) -> str:
    if interval is None:
        return "not measured"
    mark = "" if excludes_zero(interval) else " †"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]{mark}"


def _named(arms: list[str]) -> str:
    return ", ".join(f"`{arm}`" for arm in arms) or "no arm"
