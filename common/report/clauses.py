"""A clause of a decision rule as data: which arms, compared in what, and what counts as shown."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple

from common.params import CONTROL
from common.report.measured import Measure, Test

LEVEL = 0.05
"""Of a p-value, after the correction that the clause asks for."""
BEST_FLOOR = "the best floor"
"""In place of an arm: the reference row that is no ceiling and has the highest value."""


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
    """What makes up for a clause that asks the same of several arms."""

    NONE = "none"
    HOLM = "holm"
    """Over those contrasts of the clause that were measured."""
    FIXED_ORDER = "fixed order"
    """In the order of the contrasts, up to the first that is not shown."""


class Seeds(StrEnum):
    """Which training seeds must lie in the clause's direction by themselves."""

    ANY = "any"
    SHARED = "shared"
    """Each that both arms have."""
    EVERY = "every"
    """Each of the arm, and the other arm must have it too."""


class Contrast(NamedTuple):
    """One arm minus another, or minus BEST_FLOOR, or minus a number such as the 0.5 of chance."""

    arm: str
    other: str | float = 0.0


@dataclass(frozen=True)
class EachArm:
    """One contrast for each arm that the results hold and that fits."""

    other: str | float = CONTROL
    besides: tuple[str, ...] = (CONTROL,)
    """Arms that are left out."""
    prefix: str = ""
    """Only arms whose names begin so."""
    no_prefix: str | None = None
    """Only arms whose names do not begin so."""
    smaller: bool = False
    """Only arms of fewer trainable parameters than control, from the largest to the smallest."""
    only_last: bool = False
    """Of these the last alone."""


@dataclass(frozen=True)
class Phrases:
    """What a clause adds to the verdict's sentence, without a capital or a full stop.

    `{arms}` stands for the arms that are shown, `{last}` for the last of them, the answer of a
    fixed order, and both for `any of the arms` where none was measured.
    """

    shown: str
    not_shown: str
    other_way: str = ""
    """Where every contrast points the other way; default: `not_shown`."""


@dataclass(frozen=True)
class Clause:
    """One thing that a rule asks.

    A contrast is shown when the whole 95 % interval of its difference lies in `direction`, so do
    its `seeds`, its p-value (unless `test` is INTERVAL) is below LEVEL, and the clauses that it
    `requires` are shown. Without a `direction` a clause is descriptive: reported, and not judged.
    Without a `measure` it asks for nothing but what it `requires`.
    """

    name: str
    """`The round trip improves`."""
    contrasts: tuple[Contrast, ...] | EachArm
    measure: Measure | None = None
    direction: Direction | None = None
    test: Test = Test.INTERVAL
    correction: Correction = Correction.NONE
    seeds: Seeds = Seeds.ANY
    requires: tuple[str, ...] = ()
    """Names of earlier clauses: of each the contrast of the same arm, or all where it has none."""
    phrases: Phrases | None = None
    """None: the verdict's sentence says nothing of it."""
    listed: bool = True
    """Whether its contrasts are rows of the verdict's table."""
    remark: str = ""
    """A sentence that its wording in the README ends with."""

    def __post_init__(self) -> None:
        """A clause that cannot be judged is our mistake."""
        assert self.contrasts, f"{self.name}: no contrasts"
        assert self.direction is None or self.measure, f"{self.name}: a direction of nothing"
        assert self.measure or self.requires, f"{self.name}: neither measures nor requires"
        assert not self.measure or self.test in self.measure.tests, f"{self.name}: no such test"
        assert (self.correction is Correction.HOLM) <= (self.test is not Test.INTERVAL), (
            f"{self.name}: Holm's correction is one of p-values"
        )

    @property
    def is_descriptive(self) -> bool:
        """Whether it is reported and not judged."""
        return self.measure is not None and self.direction is None
