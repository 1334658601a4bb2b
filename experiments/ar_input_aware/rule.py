"""The decision rule of `ar_input_aware`."""

from math import inf

from common.report.clauses import (
    Clause,
    Contrast,
    Correction,
    Direction,
    EachArm,
    Pairs,
    Phrases,
    not_greater,
    not_less,
)
from common.report.measured import MeanOf, Test
from common.report.rule import Rule

MARGIN = 0.02
"""Conditional FVE that counts as something, and a difference of FVE that counts as nothing."""
WRITERS = {"av": "AV text", "teacher": "teacher text"}
ALONE = "last_16_alone"
VIEWS = EachArm(0.0, ("control", ALONE))
GAIN = MeanOf(
    "view_gain", "FVE of the AR without words, minus that of the closed forms of its view"
)
KNOWS = "The AR knows its view as well as closed forms"
SEEN = MeanOf("view_read", "FVE of the AR without words, at the answer's best length")


def conditional(source: str, words: str = "") -> MeanOf:
    """Conditional FVE of a writer's words, or of others in their place: see conditional.py."""
    others = {"": "", "_swapped": " of another document", "_elsewhere": " of another position"}
    return MeanOf(
        f"conditional_{source}{words}", f"conditional FVE of {WRITERS[source]}{others[words]}"
    )


def adds(source: str) -> str:
    """The clause that a writer's words add to a view."""
    return f"{_capital(source)} adds to the view"


def harmless(source: str) -> str:
    """The clause that words of another document do not."""
    return f"{_capital(source)} of another document does not help"


def _capital(source: str) -> str:
    return WRITERS[source][:1].upper() + WRITERS[source][1:]


def _of_writer(source: str) -> tuple[Clause, ...]:
    texts = WRITERS[source]
    return (
        Clause(
            harmless(source),
            VIEWS,
            conditional(source, "_swapped"),
            not_greater(MARGIN / 2),
            pairs=Pairs.EVERY,
        ),
        Clause(
            adds(source),
            VIEWS,
            conditional(source),
            Direction(MARGIN, inf),
            test=Test.BOOTSTRAP,
            correction=Correction.HOLM,
            pairs=Pairs.EVERY,
            requires=(KNOWS, harmless(source)),
            phrases=Phrases(
                f"{texts} tells more than the AR knows from its view where it sees {{arms}}",
                f"{texts} is not shown to tell more than the AR knows from any view",
                f"{texts} tells next to nothing beside any view",
            ),
        ),
    )


RULE = Rule(
    question="How much may the AR see of the input before an explanation has nothing left to say?",
    written="Written before the first run of which results are kept.",
    remark="Conditional FVE is the share of what the AR knows from its view leaves open that the"
    " words fill. What it knows is measured by closed forms of the view, the AR without words and"
    " the AR beside words of other documents, all together. Where the first two have an FVE above"
    " 0.95 there is no conditional FVE: its denominator would be near zero.",
    key=adds("av"),
    clauses=(
        Clause(
            KNOWS,
            EachArm(0.0, ("control",)),
            GAIN,
            not_less(MARGIN),
            pairs=Pairs.EVERY,
        ),
        *_of_writer("teacher"),
        *_of_writer("av"),
        Clause(
            "The view makes AV text obsolete",
            VIEWS,
            conditional("av"),
            Direction(-inf, MARGIN),
            pairs=Pairs.EVERY,
            requires=(adds("teacher"),),
            phrases=Phrases(
                "beside {arms} AV text is obsolete",
                "no view is shown to make AV text obsolete",
            ),
            remark="Teacher text must add to the view: an AR that has not learned to use words"
            " beside its view says nothing of words.",
        ),
        Clause(
            "The shared AR is a fair denominator",
            (Contrast("last_16", ALONE),),
            SEEN,
            not_less(MARGIN / 2),
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
