"""A verdict in words: its sentence, made of the phrases of its clauses, and its notes."""

from collections.abc import Sequence

from common.metrics.statistics import least_p_value
from common.params import CONTROL
from common.report.clauses import Clause, Correction, Pairs
from common.report.markdown import amount, code
from common.report.measured import Test
from common.report.outcome import Outcome
from common.report.results import Results
from common.report.verdict import NOT_MEASURED, OTHER_WAY, SHOWN, Finding
from common.report.wording import joined, listed

ANY_ARM = "any of the arms"
NO_ARM = "the results hold no arm to speak of"


def verdict_sentence(outcomes: Sequence[Outcome]) -> str:
    """One phrase for each clause that has phrases; begins with a capital, ends with a full stop."""
    words = "; ".join(_phrase(one) for one in outcomes if one.clause.phrases)
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def key_finding(outcome: Outcome) -> Finding:
    """The row that answers a clause: one that is shown, else one that is measured, else any.

    For arms that are tested in a fixed order it is the last one that is shown.
    """
    rows = outcome.findings()
    shown = [row for row in rows if row.status == SHOWN]
    if shown:
        return shown[-1 if outcome.clause.correction is Correction.FIXED_ORDER else 0]
    return next((row for row in rows if row.status != NOT_MEASURED), rows[0])


def verdict_notes(outcomes: Sequence[Outcome], results: Results, collapsed: set[str]) -> list[str]:
    """Notes on what sentence and table leave open, a sentence each."""
    stopped = results.facts.get("stopped_early", {})
    shared = _shared_reasons(outcomes)
    return [
        *_collapse_note(collapsed),
        *(note for one in outcomes for note in _notes_of(one, [*shared])),
        *(f"Not measured, {why}: {joined(clauses)}." for why, clauses in shared.items()),
        *(_least_note(one, results) for one in outcomes if _is_at_least(one, results)),
        *_pairs_note(outcomes),
        *(f"{code(run)} was stopped early: {reason}." for run, reason in stopped.items()),
    ]


def _phrase(outcome: Outcome) -> str:
    phrases, statuses = outcome.clause.phrases, {one.status for one in outcome.judged}
    assert phrases
    if shown := outcome.arms(SHOWN):
        return phrases.shown.format(arms=listed(shown), last=code(shown[-1]))
    turned = outcome.arms(OTHER_WAY)
    if turned and phrases.other_way and (statuses == {OTHER_WAY} or "{arms}" in phrases.other_way):
        return phrases.other_way.format(arms=listed(turned))
    if statuses <= {NOT_MEASURED}:
        words = phrases.shown.format(arms=ANY_ARM, last=ANY_ARM)
        return f"whether {words} was not measured"
    return phrases.not_shown


def _shared_reasons(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """{reason: clauses} of what several clauses could not measure, to be told once."""
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        statuses = {one.status for one in outcome.judged} or {NOT_MEASURED}
        reasons = {one.reason for one in outcome.judged} or {NO_ARM}
        if statuses == {NOT_MEASURED} and len(reasons) == 1 and "" not in reasons:
            found.setdefault(reasons.pop(), []).append(f"*{outcome.clause.name}*")
    return {reason: clauses for reason, clauses in found.items() if len(clauses) > 1}


def _notes_of(outcome: Outcome, told: Sequence[str]) -> list[str]:
    """Descriptive figures, and the reasons, each with the contrasts that share it.

    Those of `told` are left to another note.
    """
    name = f"*{outcome.clause.name}*"
    if not outcome.judged:
        return [] if NO_ARM in told else [f"{name}: {NOT_MEASURED}, {NO_ARM}."]
    reasons = list(dict.fromkeys(one.reason for one in outcome.judged if one.reason))
    if {*reasons} <= {*told} and {one.status for one in outcome.judged} == {NOT_MEASURED}:
        return []
    notes = [_reason_note(outcome, reason) for reason in reasons]
    if outcome.clause.is_descriptive:
        figures = [f"{outcome.words(one)} {one.figure}" for one in outcome.judged if one.gain]
        notes += [f"{name}: {', '.join(figures)}."] if figures else []
    return notes


def _reason_note(outcome: Outcome, reason: str) -> str:
    same = [one for one in outcome.judged if one.reason == reason]
    arms = joined([outcome.words(one) for one in same])
    return f"*{outcome.clause.name}*, {arms}: {same[0].status}, {reason}."


def _collapse_note(collapsed: set[str]) -> list[str]:
    if CONTROL in collapsed:
        return [f"{code(CONTROL)} collapsed, so that nothing is shown."]
    return (
        [f"Nothing is shown for what collapsed: {listed(sorted(collapsed))}."] if collapsed else []
    )


def _is_at_least(outcome: Outcome, results: Results) -> bool:
    """Whether a bootstrap p-value is the smallest that this number of resamples can give."""
    p_values = [one.p_value for one in outcome.judged if one.p_value is not None]
    if outcome.clause.test is not Test.BOOTSTRAP or not p_values:
        return False
    return min(p_values) <= _least(outcome.clause, len(p_values), results)


def _least(clause: Clause, count: int, results: Results) -> float:
    factor = count if clause.correction is Correction.HOLM else 1
    return factor * least_p_value(results.facts["resamples"])


def _least_note(outcome: Outcome, results: Results) -> str:
    count = sum(one.p_value is not None for one in outcome.judged)
    least = amount(_least(outcome.clause, count, results))
    return f"*{outcome.clause.name}*: a p-value of {least} is one of at most that."


def _pairs_note(outcomes: Sequence[Outcome]) -> list[str]:
    """How little the signs of a few pairs prove, which no p-value over clusters includes."""
    counts = {
        len(one.gain.by_pair)
        for outcome in outcomes
        if outcome.clause.pairs is not Pairs.ANY
        for one in outcome.judged
        if one.gain
    }
    if not counts:
        return []
    chances = [f"{amount(0.5**count)} ({_pairs(count)})" for count in sorted(counts)]
    return [
        "Pairs that are trained alike differ as well, which no interval over items holds: two arms"
        " that are alike point one given way in each pair with a chance of"
        f" {joined(chances)}."
    ]


def _pairs(count: int) -> str:
    return f"{count} pairs" if count > 1 else "one pair"
