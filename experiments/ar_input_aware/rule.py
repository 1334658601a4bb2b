"""The decision rule of `ar_input_aware`."""

from math import inf

from common.report.clauses import (
    LESS,
    Clause,
    Contrast,
    Correction,
    Direction,
    EachArm,
    Pairs,
    Phrases,
    not_less,
)
from common.report.measured import MeanOf, Test
from common.report.rule import Rule

MARGIN = 0.02
"""Conditional FVE that counts as something, and a difference of FVE that counts as nothing."""
WRITERS = {"av": "AV text", "teacher": "teacher text"}
ALONE = "last_16_alone"
VIEWS = EachArm(0.0, ("control", ALONE))
GAIN = MeanOf("view_gain", "FVE of the AR without words, minus that of the closed form of its view")
SEEN = MeanOf("view_read", "FVE of the AR without words, at the answer's best length")


def conditional(source: str, words: str = "") -> MeanOf:
    """Conditional FVE of a writer's words, or of others in their place: see conditional.py."""
    others = {"": "", "_swapped": " of another document", "_elsewhere": " of another position"}
    return MeanOf(
        f"conditional_{source}{words}", f"conditional FVE of {WRITERS[source]}{others[words]}"
    )


def adds(source: str) -> str:
    """The clause that a writer's words add to a view."""
    return f"{WRITERS[source]} adds to the view".capitalize().replace("Av ", "AV ")


def _of_writer(source: str) -> tuple[Clause, ...]:
    texts = WRITERS[source]
    return (
        Clause(
            adds(source),
            VIEWS,
            conditional(source),
            Direction(MARGIN, inf),
            test=Test.BOOTSTRAP,
            correction=Correction.HOLM,
            pairs=Pairs.EVERY,
            phrases=Phrases(
                f"{texts} gives more than the input does where the AR sees {{arms}}",
                f"{texts} is not shown to give more than any view of the input",
                f"{texts} gives next to nothing beside any view of the input",
            ),
        ),
        Clause(
            f"The view makes {texts} obsolete",
            VIEWS,
            conditional(source),
            Direction(-inf, MARGIN),
            pairs=Pairs.EVERY,
            phrases=Phrases(
                f"beside {{arms}} {texts} is obsolete",
                f"no view is shown to make {texts} obsolete",
            ),
        ),
    )


RULE = Rule(
    question="How much may the AR see of the input before an explanation has nothing left to say?",
    written="Written before the first run of which results are kept.",
    remark="Conditional FVE is the share of what the view leaves open that the words fill; what the"
    " view leaves open is measured with the AR without words and with the closed form of its view"
    " together. Where they have an FVE above 0.95 there is no conditional FVE: its denominator"
    " would be near zero. Words of another document must not help: an AR that gains from any words"
    " has learned of the view in another way.",
    key=adds("av"),
    clauses=(
        *_of_writer("av"),
        *_of_writer("teacher"),
        *(
            Clause(
                f"{WRITERS[source]} of another document does not help".replace(
                    "teacher", "Teacher"
                ),
                VIEWS,
                conditional(source, "_swapped"),
                LESS,
                pairs=Pairs.EVERY,
            )
            for source in WRITERS
        ),
        Clause(
            "The AR knows its view as well as a closed form",
            EachArm(0.0, ("control",)),
            GAIN,
            not_less(MARGIN),
            pairs=Pairs.EVERY,
        ),
        Clause(
            "The shared AR is a fair denominator",
            (Contrast("last_16", ALONE),),
            SEEN,
            not_less(MARGIN),
            pairs=Pairs.SHARED,
            remark="The other is trained for the view alone.",
        ),
        *(
            Clause(
                f"What words of another position add: {texts}",
                VIEWS,
                conditional(source, "_elsewhere"),
            )
            for source, texts in WRITERS.items()
        ),
        Clause("What a view alone is worth", EachArm(0.0, ("control",)), SEEN),
    ),
)
