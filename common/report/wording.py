"""A decision rule in words: Markdown for the README of its experiment."""

from collections.abc import Sequence
from math import inf
from textwrap import fill
from typing import Any

from common.params import CONTROL
from common.report.clauses import (
    BEST_FLOOR,
    LEVEL,
    Clause,
    Contrast,
    Correction,
    Direction,
    EachArm,
    Pairs,
)
from common.report.markdown import code
from common.report.measured import Test

WIDTH = 100
PAIRS_WORDS = {
    Pairs.ANY: "",
    Pairs.SHARED: "and in each pair both share",
    Pairs.EVERY: "and in each of the arm's pairs (the other needs them too)",
}
ORDER_WORDS = (
    "tested from the largest to the smallest, up to the first that is not shown: the last that is"
    " shown is the answer"
)


def rule_words(rule: Any) -> str:
    """A `common.report.rule.Rule` in Markdown: a paragraph, the clauses by number, a paragraph."""
    numbers = {clause.name: number for number, clause in enumerate(rule.clauses, 1)}
    items = [_clause_words(clause, rule, numbers) for clause in rule.clauses]
    ends = (_preface(rule), _ending(rule))
    before, after = (fill(text, WIDTH, break_on_hyphens=False) for text in ends)
    return "\n\n".join([before, "\n".join(items), after])


def contrast_words(contrast: Contrast, sign: str = "-") -> str:
    """Such as `control` - `warm_start`, for a cell of the verdict's table."""
    arm, other = contrast
    if not isinstance(other, str):
        return f"{code(arm)} {sign} {other:g}" if other else code(arm)
    return f"{code(arm)} {sign} {BEST_FLOOR if other == BEST_FLOOR else code(other)}"


def direction_words(direction: Direction) -> str:
    """Such as `above zero` or `between -0.05 and 0.05`."""
    low, high = (f"{bound:g}" if bound else "zero" for bound in direction)
    if direction.high == inf:
        return f"above {low}"
    return f"below {high}" if direction.low == -inf else f"between {low} and {high}"


def listed(names: Sequence[str]) -> str:
    """Such as `a`, `b` and `c`."""
    return joined([code(name) for name in names])


def joined(words: Sequence[str]) -> str:
    """The words with commas, and an `and` before the last."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _preface(rule: Any) -> str:
    return (
        f"{rule.written} Differences are paired on the same {rule.items}. *Shown* means that the"
        f" whole 95 % interval of a difference (bootstrap by {rule.cluster}) lies where its clause"
        f" says, and that all else which the clause asks for holds too.{_of_pairs(rule)}"
    )


def _of_pairs(rule: Any) -> str:
    """What a pair is, where a clause speaks of pairs."""
    if all(clause.pairs is Pairs.ANY for clause in rule.clauses):
        return ""
    return " A *pair* is an AV and an AR that were warm-started together."


def _ending(rule: Any) -> str:
    collapsed = (
        "A run that was stopped early because it had collapsed counts as it is, and is named."
        if rule.collapse_counts
        else "Nothing is shown for an arm of which a run was stopped early because it had"
        f" collapsed, nor for any arm where that happened to {code(CONTROL)}."
    )
    needs = (
        "A clause that needs others also requires them to be shown: for the same arm or, if they"
        " do not cover it, for every arm they cover."
        if any(clause.requires or clause.given for clause in rule.clauses)
        else ""
    )
    concludes = any(clause.measure is None for clause in rule.clauses)
    concluded = " (and so is a conclusion, where a clause that it needs is)" if concludes else ""
    parts = [
        "What fails a clause is reported as *not shown*, what lies outside of it with its whole"
        f" interval as *the other way*{concluded}, what cannot be measured as *not measured*.",
        needs,
        collapsed,
        rule.remark,
    ]
    return " ".join(filter(None, parts))


def _clause_words(clause: Clause, rule: Any, numbers: dict[str, int]) -> str:
    """One item of the list."""
    words = [_asked(clause, rule.cluster), _needed(clause, numbers), clause.remark]
    item = f"{numbers[clause.name]}. "
    text = f"{item}*{clause.name}*: {' '.join(filter(None, words))}"
    return fill(text, WIDTH, subsequent_indent=" " * len(item), break_on_hyphens=False)


def _asked(clause: Clause, cluster: str) -> str:
    """Measure, contrasts, direction and certainty of a clause."""
    arms = _contrasts(clause)
    if not clause.measure:
        return f"a conclusion about {_about(clause)}."
    if not clause.direction:
        return f"{clause.measure.words}, {arms}. Reported, but decides nothing."
    asks = [
        f"{clause.measure.words}, {arms}: {direction_words(clause.direction)}",
        _test_words(clause, cluster),
        "the whole interval, for each neutral AR too" if clause.each_reader else "",
        PAIRS_WORDS[clause.pairs],
        ORDER_WORDS if clause.correction is Correction.FIXED_ORDER else "",
    ]
    return "; ".join(filter(None, asks)) + "."


def _contrasts(clause: Clause) -> str:
    contrasts = clause.contrasts
    against = getattr(clause.measure, "against", " minus")
    if isinstance(contrasts, EachArm):
        minus = _minus(contrasts.other, against)
        return f"{_arms(contrasts)},{minus}" if minus else _arms(contrasts)
    return joined([f"{code(one.arm)}{_minus(one.other, against)}" for one in contrasts])


def _about(clause: Clause) -> str:
    """The arms of which a clause without a measure speaks."""
    contrasts = clause.contrasts
    if isinstance(contrasts, EachArm):
        return _arms(contrasts)
    return joined([code(one.arm) for one in contrasts])


def _minus(other: str | float, against: str) -> str:
    if isinstance(other, str):
        return f"{against} {BEST_FLOOR if other == BEST_FLOOR else code(other)}"
    return f" minus {other:g}" if other else ""


def _arms(chosen: EachArm) -> str:
    """Such as `each arm but `control``."""
    named = [
        "the smallest arm" if chosen.only_last else "each arm",
        f"called {code(chosen.prefix + '...')}" if chosen.prefix else "",
        f"not called {code(chosen.no_prefix + '...')}" if chosen.no_prefix else "",
        f"with fewer trainable parameters than {code(CONTROL)}" if chosen.smaller else "",
    ]
    left_out = [arm for arm in chosen.besides if arm != CONTROL or not chosen.smaller]
    return " ".join(filter(None, [*named, f"but {listed(left_out)}" if left_out else ""]))


def _test_words(clause: Clause, cluster: str) -> str:
    """The p-value, if one is needed."""
    if clause.test is Test.INTERVAL:
        return ""
    how = f"sign flips by {cluster}" if clause.test is Test.SIGN_FLIP else "same bootstrap"
    holm = " after Holm's correction for the number of arms"
    return f"p < {LEVEL:g} ({how}){holm if clause.correction is Correction.HOLM else ''}"


def _needed(clause: Clause, numbers: dict[str, int]) -> str:
    """The clauses that it requires, or that are given, by number."""
    needed, given = (
        joined([str(numbers[name]) for name in names]) for names in (clause.requires, clause.given)
    )
    words = [f"Needs {needed}." if needed else ""]
    words += [f"No conclusion either way without {given}." if given else ""]
    return " ".join(filter(None, words))
