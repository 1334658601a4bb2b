"""A clause of a decision rule as data: which arms, which measure, and what counts as shown."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple

from common.params import CONTROL
from common.report.measured import OF_READERS, Measure, Test

LEVEL = 0.05
"""Level of significance of a p-value, after the correction that the clause asks for."""
BEST_FLOOR = "the best floor"
"""In place of an arm: the reference with the highest value of those that know the text alone."""


class Direction(NamedTuple):
    """The open range in which a difference must lie to count as shown."""

    low: float
    high: float


GREATER, LESS = Direction(0.0, inf), Direction(-inf, 0.0)


def not_less(margin: float) -> Direction:
    """Not worse by `margin` or more, where higher is better (non-inferiority)."""
    return Direction(-margin, inf)


def not_greater(margin: float) -> Direction:
    """Not worse by `margin` or more, where lower is better."""
    return Direction(-inf, margin)


def within(margin: float) -> Direction:
    """Equivalence: less than `margin` away on either side."""
    return Direction(-margin, margin)


class Correction(StrEnum):
    """Correction for a clause that tests several arms."""

    NONE = "none"
    HOLM = "holm"
    """Over the contrasts of the clause that were measured."""
    FIXED_ORDER = "fixed order"
    """In the order of the contrasts, up to the first one that is not shown."""


class Pairs(StrEnum):
    """Which warm-started pairs of AV and AR must each lie in the clause's direction."""

    ANY = "any"
    SHARED = "shared"
    """Each pair that both arms go on from."""
    EVERY = "every"
    """Each pair of the arm, and the other arm must go on from it too."""


class Contrast(NamedTuple):
    """One arm minus another, or minus BEST_FLOOR, or minus a number such as the 0.5 of chance."""

    arm: str
    other: str | float = 0.0


@dataclass(frozen=True)
class EachArm:
    """One contrast for each arm of the results that meets the conditions below."""

    other: str | float = CONTROL
    besides: tuple[str, ...] = (CONTROL,)
    """Arms that are left out."""
    prefix: str = ""
    """Only arms whose names begin with this."""
    no_prefix: str | None = None
    """Only arms whose names do not begin with this."""
    smaller: bool = False
    """Only arms of fewer trainable parameters than control, from the largest to the smallest."""
    only_last: bool = False
    """Of the remaining arms, only the last."""


@dataclass(frozen=True)
class Phrases:
    """What a clause adds to the verdict's sentence, without a capital or a full stop.

    `{arms}` stands for the arms that are shown; `{last}` for the last of them, which is the answer
    of a fixed order. Both stand for `any of the arms` where none was measured.
    """

    shown: str
    not_shown: str
    other_way: str = ""
    """Used where every contrast points the other way; if it names those that do, `{arms}`, also
    where one does and none is shown. Default: `not_shown`."""


@dataclass(frozen=True)
class Clause:
    """One statement that a rule tests.

    A contrast is shown when the whole 95 % interval of its difference lies in `direction`, so do
    its `pairs`, its p-value (unless `test` is INTERVAL) is below LEVEL, and the clauses that it
    `requires` or that are `given` are shown. Without a `direction` a clause is descriptive:
    reported, and not judged. Without a `measure` it needs nothing but the clauses that it
    `requires`.
    """

    name: str
    """Such as `The round trip improves`."""
    contrasts: tuple[Contrast, ...] | EachArm
    measure: Measure | None = None
    direction: Direction | None = None
    test: Test = Test.INTERVAL
    correction: Correction = Correction.NONE
    pairs: Pairs = Pairs.ANY
    requires: tuple[str, ...] = ()
    """Names of earlier clauses: for each, the contrast of the same arm, or all if it has none."""
    given: tuple[str, ...] = ()
    """As `requires`, but where one of them is not shown, nothing is told the other way either."""
    each_reader: bool = False
    """Whether the interval under each of several neutral ARs must lie in the direction, too, and
    not only that of their mean."""
    phrases: Phrases | None = None
    """None: the verdict's sentence leaves the clause out."""
    listed: bool = True
    """Whether its contrasts are rows of the verdict's table."""
    remark: str = ""
    """A sentence at the end of its wording in the README."""

    def __post_init__(self) -> None:
        """Check that the clause can be judged; a failure is a bug."""
        assert self.contrasts, f"{self.name}: no contrasts"
        assert self.direction is None or self.measure, f"{self.name}: a direction of nothing"
        assert self.measure or self.requires, f"{self.name}: neither measures nor requires"
        assert not self.measure or self.test in self.measure.tests, f"{self.name}: no such test"
        assert not self.each_reader or isinstance(self.measure, OF_READERS), f"{self.name}: no AR"
        assert (self.correction is Correction.HOLM) <= (self.test is not Test.INTERVAL), (
            f"{self.name}: Holm's correction is one of p-values"
        )

    @property
    def sign(self) -> str:
        """Between two arms of a contrast: / where one is divided by the other."""
        return getattr(self.measure, "sign", "-")

    @property
    def is_descriptive(self) -> bool:
        """Whether it is reported but not judged."""
        return self.measure is not None and self.direction is None
