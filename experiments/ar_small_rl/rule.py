"""The decision rule of `ar_small_rl`."""

from functools import partial

from common.report.clauses import (
    GREATER,
    LESS,
    Clause,
    Correction,
    EachArm,
    Pairs,
    Phrases,
    not_less,
)
from common.report.measured import ROUND_TRIP, Fve, MeanOf, Test
from common.report.rule import Rule

WARM_START = "warm_start"
BESIDES = ("control", WARM_START)
TO_CONTROL, TO_START = EachArm("control", BESIDES), EachArm(WARM_START, BESIDES)
MARGIN = 0.02
"""A loss of FVE beyond the last four tokens that counts as negligible."""
QUOTES = MeanOf(
    "suffix_excess_4",
    "chance-corrected share of explanations whose quote ends in the true last four words",
)
RUNS = MeanOf(
    "longest_run_excess", "chance-corrected longest run of source words in the explanation"
)
MARKS = MeanOf("quote_share", "share of the explanation inside quotation marks")
CONTENT = MeanOf("content", "chance-corrected share of known facts named")
WORDS = Fve("av_neutral_ar", beyond=4)
strict = partial(Clause, test=Test.SIGN_FLIP, correction=Correction.HOLM, pairs=Pairs.EVERY)
"""The contrasts of a clause about each arm with a weaker AR."""
SHORTER_RUNS = "It copies shorter runs of words"
QUOTES_LESS = "A weaker AR makes the AV quote less"
LEARNED = "Its AV has learned to say more beyond the last four tokens"
NAMES_MORE = "It names more than before reinforcement"
AS_MUCH = "Other ARs read as much beyond the last four tokens"
SAYS_MORE = "A weaker AR makes the AV say more"

RULE = Rule(
    question="When each AV, which sees the last four activations and can quote, is trained on"
    " rewards from its own AR: does a weaker AR make it quote less and say more?",
    written="Written before the first run in which these measures were taken.",
    remark="Chance, for which shares are corrected, is that of other documents' explanations."
    " Known facts are the next token, the title, the topic and the syntax of the position. An AV"
    " that has learned nothing would look good beside one gone astray: hence the comparison with"
    " the AV before reinforcement. A weaker AR reads less whatever is said, so that what an"
    " arm's own AR reads decides nothing.",
    collapse_counts=False,
    key=QUOTES_LESS,
    clauses=(
        strict(LEARNED, TO_START, WORDS, GREATER),
        strict(SHORTER_RUNS, TO_CONTROL, RUNS, LESS),
        strict(
            QUOTES_LESS,
            TO_CONTROL,
            QUOTES,
            LESS,
            requires=(LEARNED, SHORTER_RUNS),
            phrases=Phrases(
                "weakening the AR to {arms} makes the AV quote less",
                "no weaker AR is shown to make the AV quote less",
                "weakening the AR to {arms} makes the AV quote more",
            ),
            remark="The AR of `control` is the largest. Word runs matter because words can be"
            " copied without quotation marks.",
        ),
        strict(NAMES_MORE, TO_START, CONTENT, GREATER),
        strict(AS_MUCH, TO_CONTROL, WORDS, not_less(MARGIN), each_reader=True),
        strict(
            SAYS_MORE,
            TO_CONTROL,
            CONTENT,
            GREATER,
            requires=(NAMES_MORE, AS_MUCH),
            phrases=Phrases(
                "weakening it to {arms} makes the AV say more",
                "no weaker AR is shown to make the AV say more",
                "weakening it to {arms} makes the AV say less",
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
        Clause("How much less an arm puts in quotation marks", TO_CONTROL, MARKS),
        Clause("What an arm loses under its own AR", TO_CONTROL, ROUND_TRIP),
    ),
)
