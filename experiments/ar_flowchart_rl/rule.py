"""The decision rule of `ar_flowchart_rl`."""

from functools import partial

from common.report.clauses import GREATER, Clause, Correction, EachArm, Pairs, Phrases
from common.report.measured import NEUTRAL_AR, ROUND_TRIP, Fve, MeanOf, Test
from common.report.rule import Rule

WARM_START = "warm_start"
BESIDES = ("control", WARM_START)
TO_CONTROL, TO_START = EachArm("control", BESIDES), EachArm(WARM_START, BESIDES)
CONTENT = MeanOf("content", "chance-corrected share of known facts named")
SUFFIX = MeanOf(
    "suffix_excess_1", "chance-corrected share of quotes that end in the true last word"
)
WORDS = Fve("av_neutral_ar", beyond=1)
NAMES_MORE, READS_MORE = "It names more known facts", "Other ARs read more beyond the last token"
LEARNED = "Its AV has learned to say more beyond the last token"
strict = partial(
    Clause, direction=GREATER, correction=Correction.HOLM, pairs=Pairs.EVERY, requires=(LEARNED,)
)
"""What an arm must do better than the control, once its AV has learned."""

RULE = Rule(
    question="When an AV is rewarded by an AR that anybody can follow, a flow chart or plain"
    " look-ups: does it say more than one that is rewarded by a language model?",
    written="Written before the first run.",
    remark="Chance, for which shares are corrected, is that of other documents' explanations."
    " Known facts are the next token, the title, the topic and the syntax of the position. An AV"
    " that says the words of a box whatever the activation is names no more facts than chance, and"
    " other ARs read nothing in it.",
    collapse_counts=False,
    key=READS_MORE,
    clauses=(
        Clause(LEARNED, TO_START, WORDS, GREATER, pairs=Pairs.EVERY, each_reader=True),
        strict(
            READS_MORE,
            TO_CONTROL,
            WORDS,
            test=Test.BOOTSTRAP,
            phrases=Phrases(
                "being rewarded by {arms} makes the AV say more to other ARs",
                "no AR that can be followed is shown to make the AV say more to other ARs",
                "an AR that can be followed makes the AV say less to other ARs",
            ),
        ),
        strict(
            NAMES_MORE,
            TO_CONTROL,
            CONTENT,
            test=Test.SIGN_FLIP,
            phrases=Phrases(
                "being rewarded by {arms} makes it name more known facts",
                "no AR that can be followed is shown to make it name more known facts",
                "an AR that can be followed makes it name fewer known facts",
            ),
        ),
        Clause("Last-word copies that an arm adds", TO_CONTROL, SUFFIX),
        Clause("What an arm reads under its own AR", TO_CONTROL, ROUND_TRIP),
        Clause("What other ARs read of an arm", TO_CONTROL, NEUTRAL_AR),
    ),
)
