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
    "teacher": "FVE on teacher text",
    "av": "FVE under its own AR",
    "av_neutral_ar": "FVE under the neutral AR",
    "av_untrained_ar": "FVE under the AR before reinforcement",
}
"""Words by the sources of common/schema.py, which is not imported because it imports torch."""
WRITERS = {"teacher": "teacher text"}
"""Sources whose texts are not an AV's."""


@dataclass(frozen=True)
class Fve:
    """Fraction of variance explained of the texts of one source, by one reader."""

    source: str
    """`teacher`, `av` (the AV's own text, read by its own AR), `av_neutral_ar`, ..."""
    called: str = ""
    """Words in place of the usual ones."""

    tests: ClassVar = ANY_MEAN

    @property
    def words(self) -> str:
        """Such as `FVE under its own AR`."""
        return self.called or READERS.get(self.source, f"FVE on {code(self.source)}")


ROUND_TRIP, NEUTRAL_AR, ON_TEACHER = Fve("av"), Fve("av_neutral_ar"), Fve("teacher")


@dataclass(frozen=True)
class MeanOf:
    """The mean of a measure of `results.measures`."""

    measure: str
    words: str
    """Such as `share of the explanation inside quotation marks`."""

    tests: ClassVar = ANY_MEAN


@dataclass(frozen=True)
class Stripped:
    """FVE under a transform minus FVE under its random control, on explanations that allow both.

    Below zero if the removed text carries more than the same number of other words.
    """

    source: str
    transform: str
    twin: str

    tests: ClassVar = ANY_MEAN

    @property
    def words(self) -> str:
        """The names of the two transforms."""
        texts = WRITERS.get(self.source, "AV text")
        return f"FVE of {code(self.transform)} minus {code(self.twin)} on {texts}"


@dataclass(frozen=True)
class ShareLost:
    """The share of an arm's own FVE that a transform takes beyond what its random control takes.

    On the explanations that allow both; loss and own FVE are resampled together. Shares are
    undefined if the own FVE may not be above zero.
    """

    source: str
    transform: str
    twin: str

    tests: ClassVar = (Test.INTERVAL,)

    @property
    def words(self) -> str:
        """The names of the two transforms."""
        texts = WRITERS.get(self.source, "AV text")
        return f"share of FVE on {texts} that {code(self.transform)} loses beyond {code(self.twin)}"


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


Measure = Fve | MeanOf | Stripped | ShareLost | Auroc
