"""A decision rule applied to results: the status of every contrast of every clause."""

from collections.abc import Mapping, Sequence
from math import inf, isnan

from common.metrics.statistics import holm
from common.params import CONTROL
from common.report.clauses import (
    LEVEL,
    Clause,
    Contrast,
    Correction,
    Direction,
    EachArm,
    Pairs,
)
from common.report.comparing import gain
from common.report.markdown import code
from common.report.measured import Test
from common.report.outcome import Judged, Outcome, lies_in, pairs_asked, pairs_inside
from common.report.paired import NotMeasuredError, PairedGain
from common.report.results import Results
from common.report.rule import Rule
from common.report.sentence import key_finding, verdict_notes, verdict_sentence
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN, Verdict
from common.report.wording import joined


def judge(rule: Rule, results: Results) -> Verdict:
    """Judge all clauses in order, since a clause may require earlier ones."""
    outcomes: dict[str, Outcome] = {}
    collapsed = set() if rule.collapse_counts else collapsed_arms(results)
    for clause in rule.clauses:
        outcomes[clause.name] = _outcome(clause, results, outcomes, collapsed)
    judged = [one for one in outcomes.values() if not one.clause.is_descriptive]
    rows = [row for one in judged if one.clause.listed for row in one.findings()]
    return Verdict(
        verdict_sentence(judged),
        tuple(rows),
        tuple(verdict_notes(list(outcomes.values()), results, collapsed)),
        key_finding(outcomes[rule.key_clause]),
    )


def collapsed_arms(results: Results) -> set[str]:
    """Arms with a run that was stopped early."""
    return {run.partition("/")[0] for run in results.facts.get("stopped_early", {})}


def contrasts_of(clause: Clause, results: Results) -> list[Contrast]:
    """The contrasts that a clause names, or one for each arm that meets its conditions."""
    chosen = clause.contrasts
    if not isinstance(chosen, EachArm):
        return list(chosen)
    arms = [arm for arm in results.arms if arm not in chosen.besides]
    if chosen.smaller:
        arms = _smaller(arms, results)
    arms = [arm for arm in arms if arm.startswith(chosen.prefix)]
    if chosen.no_prefix:
        arms = [arm for arm in arms if not arm.startswith(chosen.no_prefix)]
    return [Contrast(arm, chosen.other) for arm in (arms[-1:] if chosen.only_last else arms)]


def _smaller(arms: Sequence[str], results: Results) -> list[str]:
    """Arms of fewer trainable parameters than control, from the largest to the smallest."""
    if "trainable_parameters" not in results.runs.columns:
        return []
    known = results.runs.drop_nulls("trainable_parameters")
    sizes = dict(known.unique("arm", keep="first").select("arm", "trainable_parameters").rows())
    smaller = [arm for arm in arms if arm in sizes and sizes[arm] < sizes.get(CONTROL, 0)]
    return sorted(smaller, key=lambda arm: -sizes[arm])


def _outcome(
    clause: Clause, results: Results, outcomes: Mapping[str, Outcome], collapsed: set[str]
) -> Outcome:
    found = [_measured(clause, results, one) for one in contrasts_of(clause, results)]
    if clause.is_descriptive:
        return Outcome(clause, tuple(found))
    found = [_by_figures(clause, one) for one in _with_p_values(clause, found)]
    found = [_by_required(clause, one, outcomes) for one in found]
    found = [_by_collapse(one, collapsed) for one in found]
    if clause.correction is Correction.FIXED_ORDER:
        found = _until_failure(found)
    return Outcome(clause, tuple(found))


def _measured(clause: Clause, results: Results, contrast: Contrast) -> Judged:
    if not clause.measure:
        return Judged(contrast, SHOWN)
    try:
        return Judged(contrast, NOT_SHOWN, gain(clause.measure, results, *contrast))
    except NotMeasuredError as reason:
        return Judged(contrast, NOT_MEASURED, reason=str(reason))


def _with_p_values(clause: Clause, found: list[Judged]) -> list[Judged]:
    """Add p-values, corrected over the contrasts that were measured."""
    if clause.test is Test.INTERVAL:
        return found
    p_values = [_p_value(clause, one.gain) for one in found if one.gain]
    if clause.correction is Correction.HOLM:
        p_values = holm(p_values)
    rest = iter(p_values)
    return [one._replace(p_value=next(rest)) if one.gain else one for one in found]


def _p_value(clause: Clause, found: PairedGain) -> float:
    """The larger of the p-values at the ends of the direction."""
    assert clause.direction
    ends = [end for end in clause.direction if abs(end) < inf]
    return max(found.p_value(clause.test, end) for end in ends)


def _by_figures(clause: Clause, one: Judged) -> Judged:
    """Status by interval, p-value and pairs alone; the other way needs the same certainty."""
    if not one.gain or not clause.direction:
        return one
    low, high = clause.direction
    if isnan(one.gain.difference.low):
        return one._replace(reason="its interval is undefined")
    for status, ends in ((SHOWN, (low, high)), (OTHER_WAY, (-inf, low)), (OTHER_WAY, (high, inf))):
        if _lies_between(clause, one, Direction(*ends)):
            return one._replace(status=status)
    return one


def _lies_between(clause: Clause, one: Judged, ends: Direction) -> bool:
    """Whether interval, pairs and readers lie between the ends, and the p-value is small."""
    assert one.gain
    asked = max(1, pairs_asked(clause, one.gain))
    agree = clause.pairs is Pairs.ANY or pairs_inside(ends, one.gain) == asked
    sure = one.p_value is None or one.p_value < LEVEL
    read = one.gain.by_reader.values() if clause.each_reader else ()
    intervals = [one.gain.difference, *read]
    return agree and sure and all(lies_in(ends, interval) for interval in intervals)


def _by_required(clause: Clause, one: Judged, outcomes: Mapping[str, Outcome]) -> Judged:
    """A contrast that its own figures show must also be shown by the clauses that it requires.

    One that they show the other way, only by those that are given. A conclusion, which has no
    figures, lies the other way where one that it requires does.
    """
    if one.status not in (SHOWN, OTHER_WAY):
        return one
    needed = (*clause.requires, *clause.given) if one.status == SHOWN else clause.given
    asked = {name: outcomes[name].of_arm(one.contrast.arm) for name in needed}
    lacking = {name: found for name, found in asked.items() if found[0] != SHOWN}
    if not lacking:
        return one
    statuses = {status for status, _ in lacking.values()}
    if clause.measure is None and OTHER_WAY in statuses and not {*clause.given} & {*lacking}:
        status = OTHER_WAY
    else:
        status = NOT_MEASURED if statuses == {NOT_MEASURED} else NOT_SHOWN
    reason = joined([f"*{name}* {_is(*found)}" for name, found in lacking.items()])
    return one._replace(status=status, reason=reason if clause.measure else "")


def _is(status: str, figure: str) -> str:
    return f"{'lies' if status == OTHER_WAY else 'is'} {status} ({figure})"


def _by_collapse(one: Judged, collapsed: set[str]) -> Judged:
    """Nothing is shown for an arm that has collapsed, or where the control has."""
    if one.status == NOT_MEASURED or not collapsed & {*one.contrast, CONTROL}:
        return one
    return one._replace(status=NOT_SHOWN, reason="")


def _until_failure(found: list[Judged]) -> list[Judged]:
    """Stops at the first failure, which needs no correction for the number of contrasts.

    The order protects what is shown alone: contrasts that lie the other way keep saying so after
    one that does.
    """
    first = next((place for place, one in enumerate(found) if one.status != SHOWN), len(found))
    reason = f"not tested after {code(found[first].contrast.arm)}" if found[first:] else ""
    turned = bool(found[first:]) and found[first].status == OTHER_WAY
    kept = {NOT_MEASURED, OTHER_WAY} if turned else {NOT_MEASURED}
    rest = [
        one if one.status in kept else one._replace(status=NOT_SHOWN, reason=reason)
        for one in found[first + 1 :]
    ]
    return [*found[: first + 1], *rest]
