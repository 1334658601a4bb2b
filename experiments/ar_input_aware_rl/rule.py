"""The decision rule of `ar_input_aware_rl`."""

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
from common.report.measured import NEUTRAL_AR, Fve, MeanOf, Test
from common.report.rule import Rule

WARM_START = "warm_start"
BESIDES = ("control", WARM_START)
TO_CONTROL, TO_START = EachArm("control", BESIDES), EachArm(WARM_START, BESIDES)
MARGIN = 0.05
"""A loss of FVE under ARs that see no input with which words still stand alone."""
QUOTES = MeanOf(
    "suffix_excess_4",
    "chance-corrected share of explanations whose quote ends in the true last four words",
)
LAST = MeanOf("suffix_excess_1", "chance-corrected share of quotes that end in the true last word")
RUNS = MeanOf(
    "longest_run_excess", "chance-corrected longest run of source words in the explanation"
)
MARKS = MeanOf("quote_share", "share of the explanation inside quotation marks")
CONTENT = MeanOf("content", "chance-corrected share of known facts named")
WORDS = Fve("av_neutral_ar", beyond=4)
strict = partial(Clause, test=Test.SIGN_FLIP, correction=Correction.HOLM, pairs=Pairs.EVERY)
"""What is asked of each arm whose AR sees some of the input."""
LEARNED = "Its AV has learned to say more beyond the last four tokens"
QUOTES_LESS = "It quotes less"
NAMES_MORE = "It names more known facts"
READS_MORE = "Other ARs read more beyond the last four tokens"
BET = "It copies less and says more"
STANDS_ALONE = "What it says stands alone"

RULE = Rule(
    question="When an AR has a part of the input already, and so pays the AV only for what that"
    " part does not say: does the AV copy less and say more?",
    written="Written before the first run. The bet: paid only for what its AR does not see, such as"
    " what lies beyond the last four tokens, the AV copies less and says more.",
    remark="Chance, for which shares are corrected, is that of other documents' explanations."
    " Known facts are the next token, the title, the topic and the syntax of the position. The"
    " neutral ARs see nothing of the input: what only an AR beside its input can use counts for"
    " nothing. An AV that has learned nothing would look good beside one gone astray: hence the"
    " comparison with the AV before reinforcement. An AR that sees some of the input reads more"
    " whatever is said, so that what an arm's own AR reads decides nothing.",
    collapse_counts=False,
    key=NAMES_MORE,
    clauses=(
        strict(LEARNED, TO_START, WORDS, GREATER),
        strict(
            QUOTES_LESS,
            TO_CONTROL,
            QUOTES,
            LESS,
            requires=(LEARNED,),
            phrases=Phrases(
                "rewards from the AR of {arms} make the AV quote less",
                "no AR that sees some of the input is shown to make the AV quote less",
                "rewards from the AR of {arms} make the AV quote more",
            ),
        ),
        strict(
            NAMES_MORE,
            TO_CONTROL,
            CONTENT,
            GREATER,
            requires=(LEARNED,),
            phrases=Phrases(
                "rewards from the AR of {arms} make it name more known facts",
                "none is shown to make it name more known facts",
                "rewards from the AR of {arms} make it name fewer known facts",
            ),
        ),
        strict(
            READS_MORE,
            TO_CONTROL,
            WORDS,
            GREATER,
            each_reader=True,
            phrases=Phrases(
                "other ARs read more beyond the last four tokens in the words of {arms}",
                "other ARs are not shown to read more beyond the last four tokens",
                "other ARs read less beyond the last four tokens in the words of {arms}",
            ),
        ),
        Clause(
            BET,
            EachArm(besides=BESIDES, other=0.0),
            requires=(QUOTES_LESS, NAMES_MORE, READS_MORE),
            phrases=Phrases(
                "the AV of {arms} copies less and says more",
                "that an AV copies less and says more is not shown",
            ),
        ),
        strict(
            STANDS_ALONE,
            TO_CONTROL,
            NEUTRAL_AR,
            not_less(MARGIN),
            remark="Words that leave out what their AR sees may say too little to a reader who sees"
            " nothing.",
        ),
        Clause("Last-word copies that an arm adds", TO_CONTROL, LAST),
        Clause("How much longer its runs of copied words are", TO_CONTROL, RUNS),
        Clause("How much more it puts in quotation marks", TO_CONTROL, MARKS),
        Clause("How much more it names than before reinforcement", TO_START, CONTENT),
    ),
)
