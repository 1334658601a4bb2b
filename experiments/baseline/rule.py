"""The decision rule of `baseline`."""

from functools import partial

from common.report.clauses import GREATER, Clause, Contrast, Direction, Pairs, Phrases
from common.report.measured import NEUTRAL_AR, ROUND_TRIP, Fve, GainBeyond, MeanOf, SwapShare
from common.report.rule import Rule

WARM_START, FROZEN_AR, FROZEN_AV = "warm_start", "frozen_ar", "frozen_av"
UNQUOTED, UNQUOTED_START = "unquoted", "unquoted_warm_start"
LEARNED = (Contrast("control", WARM_START),)
FROM_UNQUOTED = (Contrast(UNQUOTED, UNQUOTED_START),)
BESIDE_CONTROL = (Contrast(UNQUOTED, "control"),)
BEYOND = "It says more beyond the last token"
OTHERS = "Other ARs read more beyond the last token"
ALONE = "The AV's learning alone improves the round trip"
HALF = Direction(float("-inf"), 0.5)
CONTENT = MeanOf("content", "chance-corrected share of known facts named")
LONGEST_RUN = MeanOf(
    "longest_run_excess", "chance-corrected longest run of source words in the explanation"
)
compares = partial(Clause, pairs=Pairs.SHARED)
"""A clause whose contrasts must agree in every pair."""


def ends_in(words: str, count: int) -> MeanOf:
    """How often the quote is right, beyond chance."""
    return MeanOf(
        f"suffix_excess_{count}",
        f"chance-corrected share of explanations whose quote ends in the true last {words}",
    )


LAST_WORD, TWO_WORDS = ends_in("word", 1), ends_in("two words", 2)

RULE = Rule(
    question="What does reinforcement learning add to a warm-started NLA: does it say more beyond"
    " the last token of its source, or copy that token more often?",
    written="Written before the first run in which these measures were taken.",
    remark="Chance, for which shares are corrected, is that of other documents' explanations."
    " Known facts are the next token, the title, the topic and the syntax of the position.",
    key=BEYOND,
    clauses=(
        compares("The round trip improves", LEARNED, ROUND_TRIP, GREATER),
        compares(
            OTHERS,
            LEARNED,
            Fve("av_neutral_ar", beyond=1),
            GREATER,
            each_reader=True,
        ),
        compares(
            BEYOND,
            LEARNED,
            Fve("av", beyond=1),
            GREATER,
            requires=(OTHERS,),
            remark="The AR learns along: what it alone reads may be its own learning. That is why"
            " the neutral ARs are asked for.",
            phrases=Phrases(
                "reinforcement learning makes explanations say more beyond the last token, to its"
                " own AR and to neutral ones",
                "reinforcement learning is not shown to make explanations say more beyond the last"
                " token",
                "reinforcement learning makes explanations say less beyond the last token",
            ),
        ),
        compares(
            "Most of the gain is the last token",
            LEARNED,
            GainBeyond("av"),
            HALF,
            phrases=Phrases(
                "less than half of what the round trip gains lies beyond the last token",
                "whether most of the gain is the last token is not shown",
                "more than half of what the round trip gains lies beyond the last token",
            ),
            remark="Both errors use the answer at its best length.",
        ),
        compares(
            "It copies the last word more often",
            LEARNED,
            LAST_WORD,
            GREATER,
            phrases=Phrases(
                "it learns to copy the last word",
                "it is not shown to learn to copy the last word",
                "it copies the last word less often",
            ),
        ),
        compares("It quotes two words more often", LEARNED, TWO_WORDS, GREATER),
        compares(
            "It names more of what is known",
            LEARNED,
            CONTENT,
            GREATER,
            phrases=Phrases(
                "it names more of what is known of the position",
                "it is not shown to name more of what is known of the position",
                "it names less of what is known of the position",
            ),
        ),
        compares(
            "The last quoted word counts for more",
            LEARNED,
            SwapShare("av", "swap_last_word"),
            GREATER,
        ),
        compares(
            "What is not quoted counts for more",
            LEARNED,
            SwapShare("av", "swap_all_but_quote"),
            GREATER,
        ),
        compares(
            "Learning to speak is part of it",
            (Contrast("control", FROZEN_AV),),
            ROUND_TRIP,
            GREATER,
            remark=f"In `{FROZEN_AV}` the AR learns alone.",
        ),
        compares(
            ALONE,
            (Contrast(FROZEN_AR, WARM_START),),
            ROUND_TRIP,
            GREATER,
            remark=f"In `{FROZEN_AR}` only the AV learns.",
        ),
        compares(
            "The AV's learning is the larger part",
            (Contrast(FROZEN_AR, FROZEN_AV),),
            ROUND_TRIP,
            GREATER,
            requires=(ALONE,),
            phrases=Phrases(
                "the AV's learning is the larger part of the gain",
                "the AV's learning is not shown to be the larger part of the gain",
            ),
        ),
        Clause(
            "What the AR's learning alone gains", (Contrast(FROZEN_AV, WARM_START),), ROUND_TRIP
        ),
        Clause("Extra FVE for the neutral ARs", LEARNED, NEUTRAL_AR),
        compares(
            "Copied words come back",
            FROM_UNQUOTED,
            LONGEST_RUN,
            GREATER,
            phrases=Phrases(
                "an AV that was taught not to quote learns to copy words by reinforcement",
                "an AV that was taught not to quote is not shown to learn to copy words",
                "an AV that was taught not to quote copies even fewer words after reinforcement",
            ),
            remark="Nobody taught this AV to quote: its teacher describes the last words.",
        ),
        compares("Quotes come back", FROM_UNQUOTED, LAST_WORD, GREATER),
        Clause(
            "An AV that does not quote names more of what is known",
            BESIDE_CONTROL,
            CONTENT,
            GREATER,
            remark="Their pairs were trained apart, so that none is shared.",
        ),
        Clause(
            "An AV that does not quote says as much beyond the last token",
            BESIDE_CONTROL,
            Fve("av", beyond=1),
            Direction(-0.02, float("inf")),
        ),
        Clause("What it costs not to quote", BESIDE_CONTROL, ROUND_TRIP),
        Clause(
            "How much more often the last word stands anywhere",
            (*LEARNED, *FROM_UNQUOTED),
            MeanOf(
                "names_last_excess",
                "chance-corrected share of explanations in which the true last word stands"
                " anywhere",
            ),
            remark="Added after the first explanations had been read: an AV may name the word"
            " without quoting it.",
        ),
    ),
)
