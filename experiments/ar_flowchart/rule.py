"""The decision rule of `ar_flowchart`."""

from common.report.clauses import (
    GREATER,
    Clause,
    Contrast,
    Direction,
    EachArm,
    Pairs,
    Phrases,
    not_less,
)
from common.report.measured import Fve, FveShare
from common.report.rule import Rule

ENOUGH = Direction(0.7, float("inf"))
"""The share of the control's FVE at which a chart counts as good enough."""
MARGIN = 0.02
CHART = Contrast("chart", "control")
TEXTS = {"av": "AV text", "teacher": "teacher text"}


def _keeps(source: str) -> tuple[Clause, ...]:
    """Whether a chart on one page is enough for one kind of text."""
    texts = TEXTS[source]
    on = f"on {texts}"
    reads = f"The control reads {texts} beyond the last token"
    fve, beyond = f"The chart keeps FVE of {texts}", _beyond(source)
    return (
        Clause(
            reads,
            (Contrast("control"),),
            Fve(source, 1, texts=on),
            Direction(2 * MARGIN, float("inf")),
        ),
        Clause(fve, (CHART,), FveShare(source, 0, texts=on), ENOUGH, pairs=Pairs.SHARED),
        Clause(
            beyond,
            (CHART,),
            FveShare(source, 1, texts=on),
            ENOUGH,
            pairs=Pairs.SHARED,
            given=(reads,),
        ),
        Clause(
            _enough(source),
            (CHART,),
            requires=(fve, beyond),
            phrases=Phrases(
                f"a chart of at most 30 boxes is good enough for {texts}",
                f"a chart of at most 30 boxes is not shown to be good enough for {texts}",
                f"a chart of at most 30 boxes is not good enough for {texts}",
            ),
        ),
    )


def _beyond(source: str) -> str:
    return f"The chart keeps beyond-token FVE of {TEXTS[source]}"


def _enough(source: str) -> str:
    return f"A simple chart is enough for {TEXTS[source]}"


RULE = Rule(
    question="Can the activation reconstructor be a flow chart that a person follows by hand?",
    written="Written before the first run.",
    remark="A chart is good enough where it keeps 70 % of the FVE of the published AR, and of its"
    " FVE beyond the last token, on the same texts. FVE is taken at each answer's best length: a"
    " closed form is short where it is uncertain, and would lose by being rescaled.",
    key=_beyond("av"),
    clauses=(
        *_keeps("av"),
        *_keeps("teacher"),
        Clause(
            "`linear` reads AV text beyond the last token",
            (Contrast("linear"),),
            Fve("av", 1, texts="on AV text"),
            Direction(2 * MARGIN, float("inf")),
            listed=False,
        ),
        Clause(
            "The chart loses nothing by being drawn",
            (Contrast("chart", "linear"),),
            Fve("av", 1, texts="on AV text"),
            not_less(MARGIN),
            pairs=Pairs.SHARED,
            given=("`linear` reads AV text beyond the last token",),
            phrases=Phrases(
                f"it reads as much as `linear`, which cannot be drawn, within {MARGIN}",
                "it is not shown to read as much as `linear`, which cannot be drawn",
            ),
        ),
        Clause(
            "Looking words up helps",
            (Contrast("chart", "questions"),),
            Fve("av", 1, texts="on AV text"),
            GREATER,
            pairs=Pairs.SHARED,
            phrases=Phrases(
                "boxes that look words up read more than yes/no questions alone",
                "boxes that look words up are not shown to read more than yes/no questions alone",
            ),
        ),
        *(
            Clause(
                f"What an arm keeps of {name} at full length",
                EachArm(),
                FveShare(source, texts=f"on {name}"),
            )
            for source, name in TEXTS.items()
        ),
        *(
            Clause(
                f"What an arm keeps of {name}", EachArm(), FveShare(source, 1, texts=f"on {name}")
            )
            for source, name in TEXTS.items()
        ),
    ),
)
