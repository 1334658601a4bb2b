"""The decision rule of `ar_small`."""

from common.report.clauses import (
    BEST_FLOOR,
    GREATER,
    Clause,
    Contrast,
    Correction,
    Direction,
    EachArm,
    Pairs,
    Phrases,
    not_less,
)
from common.report.measured import PARTS, Fve, Swapped, SwapShare, Test
from common.report.rule import Rule

DEPTH = "blocks_"
"""How the names of the arms that differ in depth begin."""
MARGIN = 0.02
"""A loss of FVE beyond the last token that counts as negligible."""
ENOUGH = Direction(2 * MARGIN, float("inf"))
"""What the control must read, for a loss of less than MARGIN to be less than half of it."""
EVERY_ARM, SMALLEST = (
    EachArm(0.0, besides=()),
    EachArm("control", prefix=DEPTH, only_last=True, smaller=True),
)
TEXTS = {"av": "AV text", "teacher": "teacher text"}
LAST_WORD, THE_REST = "swap_last_word", "swap_all_but_quote"


def _trained(source: str) -> str:
    return f"An AR is trained well enough on {TEXTS[source]}"


def _reads(source: str) -> str:
    return f"The control reads {TEXTS[source]} beyond the last token"


def _fewer_blocks(source: str) -> str:
    return f"An AR of fewer blocks reads {TEXTS[source]} as well"


FEWER_BLOCKS = _fewer_blocks("av")


def _of_training(source: str) -> Clause:
    return Clause(
        _trained(source),
        EachArm(BEST_FLOOR, besides=()),
        Fve(source, beyond=0, texts=f"on {TEXTS[source]}"),
        not_less(MARGIN),
        listed=False,
        remark="The best floor is the reference that reads most from the same texts in closed form,"
        " `look_up` or another. An AR that does not reach it is not trained well enough: it is no"
        " evidence about size." * (source == "av"),
    )


def _of_size(source: str) -> tuple[Clause, ...]:
    """Whether smaller ARs read one kind of text as well as the control."""
    texts, measure = TEXTS[source], Fve(source, beyond=1, texts=f"on {TEXTS[source]}")
    given = (_trained(source), _reads(source))
    return (
        _of_training(source),
        Clause(_reads(source), (Contrast("control"),), measure, ENOUGH, given=(_trained(source),)),
        Clause(
            _fewer_blocks(source),
            EachArm("control", prefix=DEPTH, smaller=True),
            measure,
            not_less(MARGIN),
            correction=Correction.FIXED_ORDER,
            pairs=Pairs.SHARED,
            given=given,
            phrases=Phrases(
                f"an AR cut down to {{last}} reads as much of {texts} beyond the last token as the"
                f" control, within {MARGIN}",
                f"no AR of fewer blocks is shown to read as much of {texts} beyond the last token"
                " as the control",
                f"cut down to {{arms}}, an AR reads less of {texts} beyond the last token",
            ),
        ),
        Clause(
            f"Another small AR reads {texts} as well",
            EachArm("control", no_prefix=DEPTH, smaller=True),
            measure,
            not_less(MARGIN),
            pairs=Pairs.SHARED,
            given=given,
            phrases=Phrases(
                f"an AR made small in another way ({{arms}}) reads as much of {texts}",
                f"no AR made small in another way is shown to read as much of {texts}",
                f"made small in another way ({{arms}}), an AR reads less of {texts}",
            ),
            remark="Each is a question of its own." * (source == "av"),
        ),
    )


def _uses(source: str, transform: str) -> Clause:
    """Which ARs lose anything by a swap."""
    part, texts = PARTS[transform], TEXTS[source]
    return Clause(
        f"An AR uses {part} of {texts}",
        EVERY_ARM,
        Swapped(source, transform, texts=f"on {texts}"),
        GREATER,
        test=Test.BOOTSTRAP,
        correction=Correction.HOLM,
        listed=False,
        phrases=Phrases(
            f"{part} of {texts} is used by {{arms}}",
            f"{part} of {texts} is not shown to be used by any AR",
        ),
    )


def _leans(source: str, transform: str) -> Clause:
    """Whether a part is a larger share of what the smallest transformer arm uses."""
    return Clause(
        f"The smallest transformer arm leans more on {PARTS[transform]} of {TEXTS[source]}",
        SMALLEST,
        SwapShare(source, transform, f"on {TEXTS[source]}"),
        GREATER,
        pairs=Pairs.SHARED,
        given=(_trained(source),),
    )


RULE = Rule(
    question="How small can the activation reconstructor be before it reads less beyond the last"
    " token of the source, and which part of a text does a small one use?",
    written="Written before the first run in which these measures were taken.",
    remark="*All: 1* says that a loss is divided by that of swapping the whole explanation, so that"
    " it does not depend on how much an arm reads.",
    key=FEWER_BLOCKS,
    clauses=(
        *_of_size("av"),
        *_of_size("teacher"),
        *(_uses("av", part) for part in (LAST_WORD, THE_REST)),
        *(_leans(source, part) for part in (LAST_WORD, THE_REST) for source in TEXTS),
    ),
)
