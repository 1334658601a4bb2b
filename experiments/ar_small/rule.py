"""The decision rule of `ar_small`."""

from common.report.clauses import (
    BEST_FLOOR,
    GREATER,
    LESS,
    Clause,
    Contrast,
    Correction,
    EachArm,
    Phrases,
    Pairs,
    not_less,
)
from common.report.measured import ON_TEACHER, Fve, ShareLost, Stripped, Test
from common.report.rule import Rule

ON_AV_TEXT = Fve("av", "FVE on AV text")
DEPTH = "blocks_"
"""How the names of the arms that differ in depth begin."""
MARGIN = not_less(0.05)
"""A loss of FVE that counts as negligible."""
VERBATIM = ("verbatim_stripped", "verbatim_random_stripped")
EVERY_ARM = EachArm(0.0, besides=())

READS_AV_TEXT, READS_TEACHER_TEXT = "An arm reads AV text", "An arm reads teacher text"
CONTROL_ABOVE_FLOORS = "The control beats the floors"
ABOVE_FLOORS = "A smaller AR beats the floors"
FEWER_BLOCKS = "An AR of fewer blocks reads as well"


def quotes_are_the_channel(texts: str, source: str, needs: str) -> Clause:
    """Whether verbatim quotes carry more than as many other words, for arms that read at all."""
    return Clause(
        f"Quotes are the channel of {texts}",
        EVERY_ARM,
        Stripped(source, *VERBATIM),
        LESS,
        test=Test.BOOTSTRAP,
        correction=Correction.HOLM,
        requires=(needs,),
        phrases=Phrases(
            f"verbatim quotes of {texts} carry more than as many other words for {{arms}}",
            f"verbatim quotes of {texts} are not shown to carry more than other words for any arm",
        ),
    )


RULE = Rule(
    question="How small can the activation reconstructor be before its score falls, and how much of"
    " a large reconstructor's score comes from the quotes in the explanations?",
    written="Written before the first complete run; amended on 2026-11-22, when only the control's"
    " results were known; put as clauses, with the same decisions, on 2026-11-30.",
    remark="Verbatim quotes are quotations of at least two words that stand word for word in the"
    " source text; `verbatim_random_stripped` takes as many words and punctuation marks in as many"
    " random spans.",
    key=FEWER_BLOCKS,
    clauses=(
        Clause(READS_AV_TEXT, EVERY_ARM, ON_AV_TEXT, GREATER, listed=False),
        Clause(
            CONTROL_ABOVE_FLOORS,
            (Contrast("control", BEST_FLOOR),),
            ON_AV_TEXT,
            GREATER,
            requires=(READS_AV_TEXT,),
            remark="The best floor is the reference row that reads most, ceilings left out. Where"
            " the control does not beat it, nothing follows about size.",
        ),
        Clause(
            ABOVE_FLOORS,
            EachArm(BEST_FLOOR, smaller=True),
            ON_AV_TEXT,
            GREATER,
            requires=(READS_AV_TEXT,),
            listed=False,
        ),
        Clause(
            FEWER_BLOCKS,
            EachArm("control", prefix=DEPTH, smaller=True),
            ON_AV_TEXT,
            MARGIN,
            correction=Correction.FIXED_ORDER,
            pairs=Pairs.SHARED,
            requires=(CONTROL_ABOVE_FLOORS, ABOVE_FLOORS),
            phrases=Phrases(
                "an AR cut down to {last} stays within 0.05 FVE of the control",
                "no AR of fewer blocks is shown to stay within 0.05 FVE of the control",
                "every AR of fewer blocks loses more than 0.05 FVE",
            ),
        ),
        Clause(
            "Another small AR reads as well",
            EachArm("control", no_prefix=DEPTH, smaller=True),
            ON_AV_TEXT,
            MARGIN,
            pairs=Pairs.SHARED,
            requires=(CONTROL_ABOVE_FLOORS, ABOVE_FLOORS),
            phrases=Phrases(
                "an AR made small in another way, {arms}, stays within it too",
                "no AR made small in another way is shown to",
                "each AR made small in another way loses more",
            ),
            remark="Each is a question of its own.",
        ),
        Clause(READS_TEACHER_TEXT, EVERY_ARM, ON_TEACHER, GREATER, listed=False),
        quotes_are_the_channel("teacher text", "teacher", READS_TEACHER_TEXT),
        quotes_are_the_channel("AV text", "av", READS_AV_TEXT),
        Clause(
            "The smallest transformer arm leans on quotes more",
            EachArm("control", prefix=DEPTH, only_last=True, smaller=True),
            ShareLost("teacher", *VERBATIM),
            GREATER,
            phrases=Phrases(
                "{arms} leans on verbatim quotes more than the control",
                "the smallest transformer arm is not shown to lean on verbatim quotes more",
                "the smallest transformer arm leans on verbatim quotes less than the control",
            ),
            remark="Loss and own FVE of both are resampled together, and an own FVE that may not be"
            " above zero has no shares. This speaks of one arm.",
        ),
    ),
)
