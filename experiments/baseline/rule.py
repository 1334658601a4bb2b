"""The decision rule of `baseline`."""

from common.report.clauses import GREATER, Clause, Contrast, Phrases, Pairs
from common.report.measured import NEUTRAL_AR, ROUND_TRIP, MeanOf
from common.report.rule import Rule

WARM_START, FROZEN_AR, FROZEN_AV = "warm_start", "frozen_ar", "frozen_av"
ALONE = "The AV's learning alone improves the round trip"

RULE = Rule(
    question="What does reinforcement learning add to a warm-started NLA, and does the AV learn to"
    " say more or the AR to read better?",
    written="Written before the first run on a real model; put as clauses, with the same decisions,"
    " on 2026-11-30.",
    clauses=(
        Clause(
            "The round trip improves",
            (Contrast("control", WARM_START),),
            ROUND_TRIP,
            GREATER,
            pairs=Pairs.SHARED,
            phrases=Phrases(
                "reinforcement learning improves the round trip",
                "reinforcement learning is not shown to improve the round trip",
                "reinforcement learning harms the round trip",
            ),
        ),
        Clause(
            "Learning to speak is part of it",
            (Contrast("control", FROZEN_AV),),
            ROUND_TRIP,
            GREATER,
            pairs=Pairs.SHARED,
            phrases=Phrases(
                "it gains more than the AR's learning alone",
                "it is not shown to gain more than the AR's learning alone",
                "it gains less than the AR's learning alone",
            ),
            remark=f"In `{FROZEN_AV}` the AR learns alone.",
        ),
        Clause(
            "The words carry more",
            (Contrast("control", WARM_START),),
            NEUTRAL_AR,
            GREATER,
            pairs=Pairs.SHARED,
            phrases=Phrases(
                "a neutral AR reads more from the words",
                "a neutral AR is not shown to read more from the words",
                "a neutral AR reads less from the words",
            ),
            remark="Not only for a partner that got used to them: the neutral AR was trained on as"
            " much text of each arm.",
        ),
        Clause(
            ALONE,
            (Contrast(FROZEN_AR, WARM_START),),
            ROUND_TRIP,
            GREATER,
            pairs=Pairs.SHARED,
            remark=f"In `{FROZEN_AR}` only the AV learns.",
        ),
        Clause(
            "The AV's learning is the larger part",
            (Contrast(FROZEN_AR, FROZEN_AV),),
            ROUND_TRIP,
            GREATER,
            pairs=Pairs.SHARED,
            requires=(ALONE,),
            phrases=Phrases(
                "the AV's learning is the larger part",
                "the AV's learning is not shown to be the larger part",
                "the AR's learning is the larger part",
            ),
        ),
        Clause(
            "What the AR's learning alone gains",
            (Contrast(FROZEN_AV, WARM_START),),
            ROUND_TRIP,
        ),
        Clause(
            "It learns to quote",
            (Contrast("control", WARM_START),),
            MeanOf(
                "verbatim_4gram_share",
                "share of the explanation's 4-grams that stand verbatim in the source text",
            ),
            GREATER,
            pairs=Pairs.SHARED,
            phrases=Phrases(
                "it learns to quote",
                "it is not shown to learn to quote",
                "it learns to quote less",
            ),
        ),
    ),
)
