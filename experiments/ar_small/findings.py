"""The decision rule of `ar_small`, applied to collected results, and what only its report shows."""

import polars as pl

from common.metrics.statistics import Interval, excludes_zero, paired_difference
from common.report.markdown import bounds, code, table
from common.report.results import CONTROL, Results
from common.report.section import Section
from common.report.tables import arm_table, mean_errors, quote_effects
from common.schema import AV, DOC_ID, KEY, TEACHER

MARGIN = 0.05
"""A loss of FVE that we would not mind (decision rule, clause 1)."""


def verdict(results: Results) -> str:
    """One line per clause of the decision rule; the first is what the index shows."""
    clauses = (_small_enough, _quotes_are_the_channel, _small_lean_on_quotes)
    return "\n\n".join(clause(results) for clause in clauses)


def sections(results: Results) -> list[Section]:
    """What a quote carries beyond as many other words, arm by arm."""
    effects = {source: quote_effects(results, source) for source in (TEACHER, AV)}
    rows = [
        {
            "arm": code(arm),
            "teacher text": bounds(effects[TEACHER].get(arm)),
            "AV text": bounds(effects[AV].get(arm)),
        }
        for arm in results.arms
    ]
    text = (
        "FVE without quotes minus FVE without random spans of the same number and length, on the"
        " same explanations (paired, 95 % interval by document). Below zero: a quote carries more"
        " than as many other words."
    )
    return [Section("Do quotes carry more than other words?", f"{text}\n\n{table(rows)}")]


def _small_enough(results: Results) -> str:
    table_rows = arm_table(results, AV)
    rows = {row.arm: row for row in table_rows if not row.is_floor}
    control = rows.pop(CONTROL)
    told = f"the control's round-trip FVE is {bounds(control.fve)}"
    floor = max(0.0, *(row.fve.estimate for row in table_rows if row.is_floor))
    if control.fve.low <= floor:
        return f"Nothing follows about size: {told}, not above the floors ({floor:.3f})."
    within = [row for row in rows.values() if row.difference and row.difference.low > -MARGIN]
    if not within:
        return f"No smaller AR is shown to stay within {MARGIN} FVE of the control: {told}."
    best = min(within, key=lambda row: _trainable(results, row.arm))
    sizes = [_trainable(results, arm) / 1e6 for arm in (best.arm, CONTROL)]
    return (
        f"The smallest AR shown to stay within {MARGIN} FVE of the control on AV text is"
        f" {code(best.arm)}: difference {bounds(best.difference)} with {sizes[0]:.1f} M trainable"
        f" parameters instead of {sizes[1]:.1f} M; {told}."
    )


def _quotes_are_the_channel(results: Results) -> str:
    effects = quote_effects(results, TEACHER)
    shown = [arm for arm, effect in effects.items() if effect.high < 0]
    others = [arm for arm in effects if arm not in shown]
    line = f"Quotes carry more than as many other words of teacher text for: {_named(shown)}."
    return line + (f" Not shown for: {_named(others)}." if others else "")


def _small_lean_on_quotes(results: Results) -> str:
    asked = "Do small ARs lean on quotes more than large ones"
    depths = [arm for arm in results.arms if arm.startswith("blocks_")]
    smallest = min(depths, key=lambda arm: _trainable(results, arm), default=None)
    if smallest is None or (difference := _reliance(results, smallest)) is None:
        return f"{asked}: not measured, or an arm's FVE is not above zero."
    found = "not shown"
    if excludes_zero(difference):
        found = "yes" if difference.estimate > 0 else "no, they lean on them less"
    return (
        f"{asked}: {found}. Loss by stripping quotes beyond the random-span control, as a share of"
        f" the arm's own FVE: {code(smallest)} minus control is {bounds(difference)} (paired; each"
        " arm's own FVE is taken as known)."
    )


def _reliance(results: Results, arm: str) -> Interval | None:
    """Reliance on quotes of an arm minus that of the control, on the explanations of both."""
    fve = {row.arm: row.fve for row in arm_table(results, TEACHER)}
    errors = mean_errors(results, TEACHER)
    if arm not in fve or min(fve[arm].low, fve[CONTROL].low) <= 0:
        return None
    joined: pl.DataFrame | None = None
    for name in (arm, CONTROL):
        stripped, random = errors[("quotes_stripped", name)], errors[("random_stripped", name)]
        pairs = stripped.join(random, on=[KEY, DOC_ID], suffix="_random").select(
            KEY,
            DOC_ID,
            ((pl.col("squared_error") - pl.col("squared_error_random")) / fve[name].estimate)
            .truediv(results.facts["variance"])
            .alias(name),
        )
        joined = pairs if joined is None else joined.join(pairs, on=[KEY, DOC_ID])
    assert joined is not None
    return paired_difference(
        joined[arm], joined[CONTROL], joined[DOC_ID], results.facts["resamples"]
    )


def _trainable(results: Results, arm: str) -> int:
    return int(results.runs.filter(pl.col("arm") == arm)["trainable_parameters"].to_list()[0])


def _named(arms: list[str]) -> str:
    return ", ".join(map(code, arms)) or "no arm"
