"""The decision rule of `ar_small_rl`, applied to collected results, and what only it shows."""

from math import nan

from common.metrics.statistics import Interval
from common.report.decisions import NOT_MEASURED, arm_rows, listed, seeds_named, stopped_early
from common.report.markdown import ABSENT, amount, bounds, code, fixed, percent, table
from common.report.paired import (
    LEVEL,
    Over,
    corrected,
    fve_over,
    mean_interval,
    measure_over,
    measures_by_arm,
)
from common.report.results import CONTROL, Results
from common.report.section import Drawing, Section
from common.report.spoken import spoken_sections
from common.report.tables import prefix_table
from common.schema import AV, AV_NEUTRAL_AR

RULE = """\
Written before the first run on a real model; amended, also before it, after two reviews.
Differences are paired on the same test activations. *Shown* means: p < 0.05 (documents' signs
flipped) after Holm's correction for the number of arms with a weaker AR, and the difference on the
same side of zero for every training seed. It is a statement about these training runs.

1. *A weaker AR makes the AV quote less* for an arm when the share of its explanations that stands
   inside quotation marks is below that of `control`, whose AR is the largest, and below that of
   `warm_start`, the AV before reinforcement, while the share of its 4-grams that stands verbatim
   in the source text is at most 0.01 above the control's by the upper end of the interval.
2. *It makes the AV say more* for an arm when its explanations have a higher FVE under the neutral
   AR than those of `control`, and than those of `warm_start`.
3. *Weakening the AR is worth it* when one arm meets both.

An AV that has learned nothing would look good beside one that has gone astray: that is why both
clauses ask for `warm_start`. Nothing is shown for an arm of which a run was stopped early because
it had collapsed, nor for any arm where that happened to `control`. What does not meet a clause is
reported as not shown. What an arm loses under its own AR is reported beside it and decides nothing:
a weaker AR reads less whatever is said."""
QUOTES, VERBATIM, START = "quote_share", "verbatim_4gram_share", "warm_start"
PREFIX = 16
"""Tokens of an explanation, or so."""
MARGIN = 0.01
"""Of the share of verbatim 4-grams, below which one share is no larger than another."""


def verdict(results: Results) -> str:
    """One paragraph per clause of the decision rule; the first is what the index shows."""
    others = [arm for arm in results.arms if arm not in (CONTROL, START)]
    less = {arm: measure_over(results, QUOTES, CONTROL, arm) for arm in others}
    since = {arm: measure_over(results, QUOTES, START, arm) for arm in others}
    more = {arm: fve_over(results, AV_NEUTRAL_AR, arm, CONTROL) for arm in others}
    learned = {arm: fve_over(results, AV_NEUTRAL_AR, arm, START) for arm in others}
    copying = _copying(results, others)
    named = ", ".join(copying.values())
    beyond = f" Verbatim 4-grams beyond the margin: {named}." if copying else ""
    fewer, above = _shown(results, since), _shown(results, learned)
    quoting = [arm for arm in _shown(results, less) if arm in fewer and arm not in copying]
    saying = [arm for arm in _shown(results, more) if arm in above]
    worth = [arm for arm in quoting if arm in saying]
    seeds = results.rows.filter(arm=CONTROL)["seed"].n_unique()
    parts = [
        f"{_fallen_said(results)}For {seeds_named(seeds)}, a weaker AR makes the AV quote less:"
        f" {_told(less, quoting, 'less by')}"
        f" Less than the AV before reinforcement: {_told(since, fewer, 'by')}{beyond}",
        f"It makes the AV say more, under a neutral AR: {_told(more, saying, 'above `control` by')}"
        f" Above the AV before reinforcement: {_told(learned, above, 'by')}",
        f"Weakening the AR is worth it: {f'shown for {listed(worth)}' if worth else 'not shown'}.",
        _losses(results, others),
        f"Runs of one arm differ as well, which no p-value of documents holds: in {seeds} of them"
        f" two arms that are alike point one given way with a chance of {amount(0.5**seeds)}.",
    ]
    return "\n\n".join([*parts, *stopped_early(results)])


def sections(results: Results) -> list[Section]:
    """The front of FVE against quotes, all against the AR's size, and what each arm's AV wrote."""
    from common.report.spoken_figures import front_figure  # every run imports this, none draws

    points = _points(results)
    if not points:
        return spoken_sections(results)
    best = [arm for arm in points if not _dominated(arm, points)]
    text = (
        "Share of the explanations inside quotation marks against their FVE under the neutral AR."
        " On the front, where no other arm quotes less and says more (point estimates; an interval"
        f" may span several): {listed(best)}."
    )
    measured = ("share in quotation marks", "FVE under the neutral AR")
    figure = front_figure(points, *measured, results.arms)
    drawing = Drawing("front", "Quotes against what the words carry", figure)
    front = Section("The front", text, (drawing,))
    return [front, *_against_size(results), *spoken_sections(results)]


def _against_size(results: Results) -> list[Section]:
    """Four measures of each arm that learned, against the parameters of its AR."""
    from common.report.spoken_figures import size_figure

    sizes = {a: n for a, n in results.facts.get("ar_parameters", {}).items() if a != START}
    if len(set(sizes.values())) < 2:
        return []
    quotes, neutral = measures_by_arm(results, QUOTES), arm_rows(results, AV_NEUTRAL_AR)
    prefixes = prefix_table(results, AV)
    tokens = min((row.tokens for row in prefixes), key=lambda k: abs(k - PREFIX), default=PREFIX)
    measures = {
        "share in quotation marks": {
            a: mean_interval(results, quotes[a]) for a in sizes if a in quotes
        },
        "FVE, neutral AR": {a: neutral[a].fve for a in sizes if a in neutral},
        "top-1, neutral AR": {
            a: Interval(row.top1, nan, nan)
            for a, row in neutral.items()
            if a in sizes and row.top1 is not None
        },
        f"FVE of {tokens} tokens, own AR": {
            row.arm: row.fve for row in prefixes if row.tokens == tokens and row.arm in sizes
        },
    }
    long = {row.arm: row.coverage for row in prefixes if row.tokens == tokens}
    figure = size_figure(measures, sizes, "parameters of the AR", results.arms)
    rows = [
        {"arm": code(arm), "AR parameters": amount(size)}
        | {name: bounds(found.get(arm)) for name, found in measures.items()}
        | {"have so many": percent(long[arm]) if arm in long else ABSENT}
        for arm, size in sorted(sizes.items(), key=lambda item: -item[1])
    ]
    caption = "Quotes, what the words carry, retrieval and first tokens against the AR's size."
    text = (
        "Top-1 is of retrieval among the distractors, without an interval. The FVE of the first"
        " tokens is that of the explanations that have so many.\n\n"
    )
    text += table(rows)
    return [Section("Against the size of the AR", text, (Drawing("size", caption, figure),))]


def _fallen(results: Results) -> set[str]:
    """Arms of which a run had collapsed."""
    return {run.partition("/")[0] for run in results.facts.get("stopped_early", {})}


def _fallen_said(results: Results) -> str:
    fallen = _fallen(results)
    if CONTROL in fallen:
        return f"{code(CONTROL)} collapsed, so that nothing is shown. "
    return f"Nothing is shown for what collapsed: {listed(sorted(fallen))}. " if fallen else ""


def _copying(results: Results, arms: list[str]) -> dict[str, str]:
    """Arms whose share of verbatim 4-grams may be larger than the control's, and by how much."""
    copied = {arm: measure_over(results, VERBATIM, arm, CONTROL) for arm in arms}
    return {
        arm: f"{code(arm)} ({bounds(over.gain)})"
        for arm, over in copied.items()
        if over and not over.gain.high <= MARGIN
    }


def _shown(results: Results, found: dict[str, Over | None]) -> list[str]:
    """Arms above zero in all of their seeds, but for those that are not to count."""
    measured, fallen = {arm: over for arm, over in found.items() if over}, _fallen(results)
    p_values = corrected(measured)
    return [
        arm
        for arm, over in measured.items()
        if over.worst > 0
        and over.seeds == results.rows.filter(arm=arm)["seed"].n_unique()
        and p_values[arm] < LEVEL
        and not fallen & {arm, CONTROL}
    ]


def _told(found: dict[str, Over | None], shown: list[str], by: str) -> str:
    """What is shown and what is not, with difference, worst seed and corrected p-value."""
    measured = {arm: over for arm, over in found.items() if over}
    if not measured:
        return f"{NOT_MEASURED}."
    p_values = corrected(measured)
    numbers = {
        arm: f"{code(arm)} ({by} {bounds(over.gain)}, {_worst(over)},"
        f" corrected p = {amount(p_values[arm])}{_other_way(over)})"
        for arm, over in measured.items()
    }
    rest = [numbers[arm] for arm in measured if arm not in shown]
    line = f"shown for {', '.join(numbers[arm] for arm in shown) or 'no arm'}."
    return line + (f" Not shown for {', '.join(rest)}." if rest else "")


def _worst(over: Over) -> str:
    return (
        f"{fixed(over.worst)} in the worst of {over.seeds} seeds" if over.seeds > 1 else "one seed"
    )


def _other_way(over: Over) -> str:
    return ": the other way" if over.gain.high < 0 else ""


def _losses(results: Results, arms: list[str]) -> str:
    """What each arm's round trip reads under its own AR, minus the control's."""
    rows = arm_rows(results, AV)
    gaps = [f"{code(arm)} {bounds(rows[arm].difference)}" for arm in arms if arm in rows]
    if not gaps:
        return f"FVE under each arm's own AR: {NOT_MEASURED}."
    return f"FVE under each arm's own AR, minus the control's: {', '.join(gaps)}."


def _points(results: Results) -> dict[str, tuple[Interval, Interval]]:
    """{arm: share in quotation marks, FVE under the neutral AR}."""
    quotes, rows = measures_by_arm(results, QUOTES), arm_rows(results, AV_NEUTRAL_AR)
    return {
        arm: (mean_interval(results, quotes[arm]), rows[arm].fve)
        for arm in results.arms
        if arm in quotes and arm in rows
    }


def _dominated(arm: str, points: dict[str, tuple[Interval, Interval]]) -> bool:
    """Whether another arm quotes no more and says no less, and is not the same in both."""
    quotes, fve = (interval.estimate for interval in points[arm])
    return any(
        other[0].estimate <= quotes
        and other[1].estimate >= fve
        and (other[0].estimate, other[1].estimate) != (quotes, fve)
        for other in points.values()
    )
