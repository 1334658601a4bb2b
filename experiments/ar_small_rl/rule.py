"""The decision rule of `ar_small_rl`."""

from functools import partial

from common.report.clauses import (
    GREATER,
    LESS,
    Clause,
    Correction,
    EachArm,
    Phrases,
    Pairs,
    not_greater,
)
from common.report.measured import NEUTRAL_AR, ROUND_TRIP, MeanOf, Test
from common.report.rule import Rule

WARM_START = "warm_start"
BESIDES = ("control", WARM_START)
TO_CONTROL, TO_START = EachArm("control", BESIDES), EachArm(WARM_START, BESIDES)
QUOTES = MeanOf("quote_share", "share of the explanation inside quotation marks")
COPIES = MeanOf(
    "verbatim_4gram_share", "share of its 4-grams that stand verbatim in the source text"
)
strict = partial(Clause, test=Test.SIGN_FLIP, correction=Correction.HOLM, pairs=Pairs.EVERY)
"""The contrasts of a clause about each arm with a weaker AR."""
NO_COPYING = "It copies no more without quotation marks"
QUOTES_LESS = "A weaker AR makes the AV quote less"
QUOTES_LESS_THAN_BEFORE = "It quotes less than before reinforcement"
SAYS_MORE = "A weaker AR makes the AV say more"
SAYS_MORE_THAN_BEFORE = "It says more than before reinforcement"

RULE = Rule(
    question="When each AV is trained by reinforcement against its own AR, does a weaker AR make"
    " the AV quote less and say more?",
    written="Written before the first run on a real model; amended, also before it, after two"
    " reviews; put as clauses on 2026-11-30, since when an interval that includes zero shows"
    " nothing, whatever its p-value.",
    remark="It is a statement about these training runs. An AV that has learned nothing would look"
    " good beside one that has gone astray: that is why the AV before reinforcement is asked for."
    " A weaker AR reads less whatever is said, so that the FVE under an arm's own AR decides"
    " nothing.",
    collapse_counts=False,
    key=QUOTES_LESS,
    clauses=(
        strict(QUOTES_LESS_THAN_BEFORE, TO_START, QUOTES, LESS),
        Clause(NO_COPYING, TO_CONTROL, COPIES, not_greater(0.01)),
        strict(
            QUOTES_LESS,
            TO_CONTROL,
            QUOTES,
            LESS,
            requires=(QUOTES_LESS_THAN_BEFORE, NO_COPYING),
            phrases=Phrases(
                "weakening the AR to {arms} makes the AV quote less",
                "no weaker AR is shown to make the AV quote less",
                "a weaker AR makes the AV quote more",
            ),
            remark="The AR of `control` is the largest.",
        ),
        strict(SAYS_MORE_THAN_BEFORE, TO_START, NEUTRAL_AR, GREATER),
        strict(
            SAYS_MORE,
            TO_CONTROL,
            NEUTRAL_AR,
            GREATER,
            requires=(SAYS_MORE_THAN_BEFORE,),
            phrases=Phrases(
                "weakening it to {arms} makes the AV say more, as a neutral AR reads it",
                "no weaker AR is shown to make the AV say more, as a neutral AR reads it",
                "a weaker AR makes the AV say less, as a neutral AR reads it",
            ),
        ),
        Clause(
            "Weakening the AR is worth it",
            EachArm(besides=BESIDES, other=0.0),
            requires=(QUOTES_LESS, SAYS_MORE),
            phrases=Phrases(
                "weakening it to {arms} is worth it",
                "weakening it is not shown to be worth it",
            ),
        ),
        Clause("What an arm loses under its own AR", TO_CONTROL, ROUND_TRIP),
    ),
)
