"""The measures in which a clause compares arms. Imports nothing heavy: comparing.py computes them.

Each measure lists the tests that it allows, and its name in words, for the README and the
verdict's table.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from common.report.markdown import code


class Test(StrEnum):
    """How certain a clause must be, beside the 95 % interval, which it always needs."""

    __test__ = False  # not a test for pytest
    INTERVAL = "interval"
    """The interval alone, without a p-value."""
    BOOTSTRAP = "bootstrap"
    """A two-sided p-value from the resamples of the interval."""
    SIGN_FLIP = "sign flip"
    """A two-sided p-value from flipping the sign of each document's difference, for values that
    are zero in most documents."""


ANY_MEAN = (Test.INTERVAL, Test.BOOTSTRAP, Test.SIGN_FLIP)
READERS = {
    "teacher": "on teacher text",
    "av": "under its own AR",
    "av_neutral_ar": "under the neutral ARs",
    "av_untrained_ar": "under the AR before reinforcement",
}
"""Words by the sources of common/schema.py, which is not imported because it imports torch."""
NUMBERS = {0: "", 1: " beyond the last token", 4: " beyond the last four tokens"}
"""What an answer is measured against, by how many of the text's last tokens are known."""
PARTS = {
    "swap_last_word": "the last quoted word",
    "swap_quote": "the quote",
    "swap_all_but_quote": "all but the quote",
    "swap_topic": "the topic statement",
    "swap_next": "the next-token statement",
    "swap_sentence": "a sentence",
}
"""Words for what a swap takes from another document's explanation."""


@dataclass(frozen=True)
class Fve:
    """Fraction of variance explained of the texts of one source, by one reader or its like.

    With `beyond`, what the last so many tokens of the source text say counts as known: the share
    of what they leave open that is filled. Beyond none of them (0) it is FVE with the answer's best
    length.
    """

    source: str
    """`teacher`, `av` (the AV's own text, read by its own AR), `av_neutral_ar` (the mean over
    neutral ARs), ..."""
    beyond: int | None = None
    texts: str = ""
    """Words in place of the usual ones for source and reader, such as `on AV text`."""

    tests: ClassVar = ANY_MEAN

    @property
    def words(self) -> str:
        """Such as `FVE beyond the last token under its own AR`."""
        what = "FVE" if self.beyond is None else f"FVE{NUMBERS[self.beyond]}"
        length = " at the answer's best length" if self.beyond == 0 else ""
        return f"{what} {self.texts or _texts(self.source)}{length}"


ROUND_TRIP, NEUTRAL_AR, ON_TEACHER = Fve("av"), Fve("av_neutral_ar"), Fve("teacher")


@dataclass(frozen=True)
class GainBeyond:
    """The share of one arm's gain in FVE over another that lies beyond the last tokens.

    With the answer's best length: the squared error that the arm saves where the last tokens are
    known, divided by what it saves where they are not. 1: what it has learned to say is all about
    something else; 0: all of it could be read from the tokens. Undefined without a gain.
    """

    source: str
    beyond: int = 1

    tests: ClassVar = (Test.INTERVAL,)
    against: ClassVar = " over"
    """Between the two arms of a contrast, in words."""

    @property
    def words(self) -> str:
        """Such as `share beyond the last token of the gain in FVE under its own AR`."""
        return f"share{NUMBERS[self.beyond]} of the gain in FVE {_texts(self.source)}"


@dataclass(frozen=True)
class FveShare:
    """One arm's FVE divided by that of another on the same activations; resampled together.

    `source`, `beyond` and `texts` as for `Fve`. Undefined where the other may have none.
    """

    source: str
    beyond: int | None = None
    texts: str = ""

    tests: ClassVar = (Test.INTERVAL,)
    against: ClassVar = " divided by"
    """Between the two arms of a contrast, in words."""
    sign: ClassVar = "/"
    """The same in a table."""

    @property
    def words(self) -> str:
        """Such as `FVE beyond the last token on AV text`."""
        return Fve(self.source, self.beyond, self.texts).words


@dataclass(frozen=True)
class MeanOf:
    """The mean of a measure of `results.measures`."""

    measure: str
    words: str
    """Such as `share of the explanation inside quotation marks`."""

    tests: ClassVar = ANY_MEAN


@dataclass(frozen=True)
class Swapped:
    """The FVE that is lost when a part of an explanation is that of another document.

    On the explanations that have such a part. The text stays one as the reader knows them.
    """

    source: str
    transform: str
    beyond: int | None = None
    texts: str = ""
    """Words in place of the usual ones for source and reader."""

    tests: ClassVar = ANY_MEAN

    @property
    def words(self) -> str:
        """Such as `FVE lost under its own AR by swapping the last quoted word`."""
        beyond = NUMBERS[self.beyond] if self.beyond else ""
        texts = self.texts or _texts(self.source)
        return f"FVE{beyond} lost {texts} by swapping {PARTS[self.transform]}"


@dataclass(frozen=True)
class SwapShare:
    """The loss by a swap divided by the loss by the whole explanation of another document.

    On the explanations that have such a part; both losses are resampled together. A share is
    undefined if the whole explanation of another document may cost nothing.
    """

    source: str
    transform: str
    texts: str = ""
    """Words in place of the usual ones for source and reader."""

    tests: ClassVar = (Test.INTERVAL,)

    @property
    def words(self) -> str:
        """Such as `FVE lost on AV text by swapping the quote (all: 1)`."""
        return f"{Swapped(self.source, self.transform, None, self.texts).words} (all: 1)"


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve of a score of items that have a label, both in `results.measures`.

    Labels are 1 and 0, and may be stored under any arm. Ties count half.
    """

    label: str = "label"
    score: str = "score"

    tests: ClassVar = (Test.INTERVAL, Test.BOOTSTRAP)

    @property
    def words(self) -> str:
        """The name of the score and of the label."""
        return f"AUROC of {code(self.score)} for {code(self.label)}"


Measure = Fve | FveShare | GainBeyond | MeanOf | Swapped | SwapShare | Auroc
"""A contrast of two arms in a measure: `gain(measure, results, arm, other)`.

A new kind of measure is a class in measured.py and a function here.
"""
OF_READERS = (Fve,)
"""Measures that may be asked of each of several neutral ARs."""


def _texts(source: str) -> str:
    return READERS.get(source, f"on {code(source)}")
