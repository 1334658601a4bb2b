"""The decision rule of `ar_small`, applied to collected results, and what only its report shows."""

from math import isnan

import polars as pl

from common.metrics.statistics import Interval, least_p_value, ratio_difference
from common.report.decisions import (
    NOT_MEASURED,
    arm_rows,
    beyond_margin,
    corrected_p_values,
    listed,
    not_above_floors,
    points_elsewhere,
    seed_differences,
    seeds_named,
    trainable_parameters,
    until_failure,
)
from common.report.markdown import amount, bounds, code, fixed, table
from common.report.results import CONTROL, Results
from common.report.section import Section
from common.report.tables import (
    ALL_QUOTES,
    FEWEST_DOCUMENTS,
    ORIGINAL,
    VERBATIM,
    joint_errors,
    quote_effects,
)
from common.schema import AV, DOC_ID, KEY, TEACHER

RULE = """\
Written before the first complete run; amended on 2026-11-22, when only the control's results were
known.

1. *Small enough*, on AV explanations. Depth: the arms with fewer blocks are tested from the deepest
   to the shallowest, up to the first that fails; the last that passes is the answer. Any other arm
   with fewer trainable parameters than the control is a question of its own. An arm passes when its
   FVE is less than 0.05 below the control's: the whole 95 % interval of the paired difference above
   -0.05, and for every training seed the mean difference to the control of that seed above -0.05
   too. It must also beat the best floor: the 95 % intervals of its FVE and of its paired difference
   to that floor both wholly above zero. Where the control does not beat it, nothing follows.
2. *Quotes are the channel* of an arm, on teacher text and on AV text separately, when FVE without
   the verbatim quotes (quotations of at least two words that stand word for word in the source
   text) is lower than FVE without as many random spans of as many words and punctuation marks: the
   paired difference below zero, p < 0.05 after Holm's correction for the number of arms, and the 95
   % interval of the arm's own FVE on that text wholly above zero.
3. *The smallest transformer arm leans on quotes more* than the control when that loss on teacher
   text, as a share of the arm's own FVE on the same explanations, is larger: the 95 % interval of
   the paired difference of shares wholly above zero, loss and own FVE of both resampled together.

What does not meet a clause is reported as not shown."""
MARGIN = 0.05
"""A loss of FVE that we would not mind (clause 1)."""
LEVEL = 0.05
"""A corrected p-value below it is shown (clause 2)."""
DEPTH = "blocks_"
"""How the arms of the axis of depth are named."""
TEXTS = {TEACHER: "teacher text", AV: "AV text"}
PAIRS = {"verbatim": VERBATIM, "all quotes": ALL_QUOTES}


def verdict(results: Results) -> str:
    """One paragraph per clause of the decision rule; the first is what the index shows."""
    channels = " ".join(_channel(results, source) for source in TEXTS)
    return "\n\n".join([_small_enough(results), channels, _smallest_leans_on_quotes(results)])


def sections(results: Results) -> list[Section]:
    """What a quote carries beyond as many other words, arm by arm."""
    effects = {
        f"{name}, {text}": quote_effects(results, source, pair)
        for name, pair in PAIRS.items()
        for source, text in TEXTS.items()
    }
    rows = [
        {"arm": code(arm)}
        | {
            title: bounds(by_arm[arm]) if arm in by_arm else NOT_MEASURED
            for title, by_arm in effects.items()
        }
        for arm in results.arms
    ]
    text = (
        "FVE without quotes minus FVE without as many random spans of as many words and"
        " punctuation marks, on the same explanations (paired, 95 % interval by document, not"
        " corrected for the number of arms). Below zero: a quote carries more than as many other"
        " words. *Verbatim* quotes are quotations of at least two words that stand word for word in"
        " the source text; *all quotes* also hold the target's next-token predictions."
    )
    return [Section("Do quotes carry more than other words?", f"{text}\n\n{table(rows)}")]


def _small_enough(results: Results) -> str:
    """Clause 1."""
    rows, smaller = arm_rows(results, AV), _smaller_arms(results)
    if CONTROL not in rows or not smaller:
        return f"How small an AR can be: {NOT_MEASURED}."
    told = f"The control's round-trip FVE is {bounds(rows[CONTROL].fve)}"
    if reason := not_above_floors(results, AV, CONTROL):
        return f"Nothing follows about size. {told}; {reason}."
    seeds = seeds_named(len(rows[CONTROL].seeds))
    said = [f"Who stays within {MARGIN} FVE of the control on AV text, for {seeds}? {told}."]
    if depths := [arm for arm in smaller if arm.startswith(DEPTH)]:
        said.append(_depth(results, depths))
    for arm in (arm for arm in smaller if arm not in depths):
        reason = _fails(results, arm)
        found = f"not shown, {reason}" if reason else f"shown, {_passes(results, arm)}"
        said.append(f"{code(arm)}: {found}.")
    return " ".join(said)


def _depth(results: Results, arms: list[str]) -> str:
    passed, reason, rest = until_failure(arms, lambda arm: _fails(results, arm))
    said = "Depth: no AR of fewer blocks is shown to."
    if passed:
        smallest = passed[-1]
        said = f"Depth: the smallest shown to is {code(smallest)}: {_passes(results, smallest)}."
    if rest:
        said += f" The first to fail is {code(rest[0])}: {reason}."
        said += f" Not tested after it: {listed(rest[1:])}." if rest[1:] else ""
    return said


def _fails(results: Results, arm: str) -> str:
    return not_above_floors(results, AV, arm) or beyond_margin(results, AV, arm, MARGIN)


def _passes(results: Results, arm: str) -> str:
    worst = min(seed_differences(results, AV, arm).values())
    sizes = [trainable_parameters(results, one) / 1e6 for one in (arm, CONTROL)]
    return (
        f"difference {bounds(arm_rows(results, AV)[arm].difference)}, in the worst seed"
        f" {fixed(worst)}, with {sizes[0]:.1f} M trainable parameters instead of {sizes[1]:.1f} M"
    )


def _smaller_arms(results: Results) -> list[str]:
    """Arms with fewer trainable parameters than the control, from large to small."""
    sizes = {arm: trainable_parameters(results, arm) for arm in results.arms}
    smaller = [arm for arm in results.arms if sizes[arm] < sizes[CONTROL]]
    return sorted(smaller, key=lambda arm: -sizes[arm])


def _channel(results: Results, source: str) -> str:
    """Clause 2 for one writer's text."""
    said = f"Verbatim quotes carry more than as many other words of {TEXTS[source]} for"
    effects, rows = quote_effects(results, source), arm_rows(results, source)
    p_values = corrected_p_values(results, source, VERBATIM)
    if not p_values:
        return f"{said}: {NOT_MEASURED}, fewer than {FEWEST_DOCUMENTS} documents have any."
    shown, others = [], []
    least = len(p_values) * least_p_value(results.facts["resamples"])
    for arm, p_value in p_values.items():
        sign = "≤" if p_value <= least else "="
        told = f"{code(arm)} ({bounds(effects[arm])}, corrected p {sign} {amount(p_value)}"
        told += ", the other way" if effects[arm].low > 0 else ""
        if not rows[arm].fve.low > 0:
            others.append(f"{told}, its own FVE is not shown to be above zero)")
        else:
            met = effects[arm].estimate < 0 and p_value < LEVEL
            (shown if met else others).append(f"{told})")
    line = f"{said}: {', '.join(shown) or 'no arm'}."
    line += f" Not shown for: {', '.join(others)}." if others else ""
    line += " (p-values: two-sided, bootstrap by document, Holm's correction over arms.)"
    missing = [arm for arm in results.arms if arm not in p_values]
    return line + (f" Not measured for: {listed(missing)}." if missing else "")


def _smallest_leans_on_quotes(results: Results) -> str:
    """Clause 3."""
    depths = [arm for arm in _smaller_arms(results) if arm.startswith(DEPTH)]
    named = f"{code(depths[-1])}, the smallest transformer arm," if depths else "A small AR"
    said = f"{named} leans on verbatim quotes of teacher text more than the control"
    difference = _reliance(results, depths[-1]) if depths else None
    if difference is None:
        return f"{said}: {NOT_MEASURED}."
    if isnan(difference.low):
        return f"{said}: not shown (an own FVE may not be above zero, and has no shares)."
    found = "shown" if difference.low > 0 else "not shown" + points_elsewhere(difference)
    return (
        f"{said}: {found}. The loss beyond that by random spans, as a share of the arm's own FVE,"
        f" minus the same of the control is {bounds(difference)}. This speaks of one arm."
    )


def _reliance(results: Results, arm: str) -> Interval | None:
    """Reliance on verbatim quotes of an arm minus the control's, on the explanations of both."""
    stripped, random = VERBATIM
    errors = joint_errors(results, TEACHER, (ORIGINAL, *VERBATIM))
    if arm not in errors or CONTROL not in errors:
        return None
    variance = results.facts["variance"]
    own, control = (
        errors[name].select(
            KEY,
            DOC_ID,
            ((pl.col(stripped) - pl.col(random)) / variance).alias("loss"),
            (1 - pl.col(ORIGINAL) / variance).alias("fve"),
        )
        for name in (arm, CONTROL)
    )
    both = own.join(control, on=[KEY, DOC_ID], suffix="_control", maintain_order="left")
    if both[DOC_ID].n_unique() < FEWEST_DOCUMENTS:
        return None
    columns = (both["loss"], both["fve"], both["loss_control"], both["fve_control"])
    return ratio_difference(*columns, both[DOC_ID], results.facts["resamples"])
