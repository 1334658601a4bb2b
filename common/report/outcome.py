"""The outcome of a clause: the status of each contrast, before it is put into words."""

from typing import NamedTuple

from common.metrics.statistics import Interval
from common.report.clauses import Clause, Contrast, Direction, Pairs
from common.report.markdown import ABSENT, bounds
from common.report.paired import PairedGain
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN, Finding
from common.report.wording import contrast_words


class Judged(NamedTuple):
    """One contrast of a clause."""

    contrast: Contrast
    status: str
    gain: PairedGain | None = None
    """None where it was not measured, or where the clause measures nothing."""
    p_value: float | None = None
    reason: str = ""
    """In a few words, why its status differs from what its figures show."""

    @property
    def figure(self) -> str:
        """Such as `-0.040 [-0.051, -0.029]`; the sign of absence where nothing was measured."""
        return bounds(self.gain and self.gain.difference)


class Outcome(NamedTuple):
    """A clause, applied; it has no contrasts if it is about no arm of the results."""

    clause: Clause
    judged: tuple[Judged, ...]

    def arms(self, status: str) -> list[str]:
        """The arms whose contrasts have this status."""
        return [one.contrast.arm for one in self.judged if one.status == status]

    def words(self, one: Judged) -> str:
        """Such as `control` - `tfidf_ridge`: the best floor by its name, if it is known."""
        arm, other = one.contrast
        contrast = Contrast(arm, one.gain.other if one.gain else other)
        return contrast_words(contrast, self.clause.sign)

    def findings(self) -> list[Finding]:
        """One row per contrast."""
        if not self.judged:
            name, measure = self.clause.name, measure_words(self.clause)
            return [Finding(name, ABSENT, measure, NOT_MEASURED, None, None, "")]
        return [self._finding(one) for one in self.judged]

    def of_arm(self, arm: str) -> tuple[str, str]:
        """Status and figure of an arm's contrasts, or of all contrasts if it has none."""
        same = [one for one in self.judged if one.contrast.arm == arm] or list(self.judged)
        statuses = {one.status for one in same}
        status = next(
            (one for one in (OTHER_WAY, NOT_SHOWN, NOT_MEASURED) if one in statuses), SHOWN
        )
        figures = (one.figure for one in same if one.status == status != SHOWN)
        return status, next(figures, ABSENT)

    def _finding(self, one: Judged) -> Finding:
        return Finding(
            self.clause.name,
            self.words(one),
            measure_words(self.clause),
            one.status,
            one.gain.difference if one.gain else None,
            one.p_value,
            _pairs(self.clause, one.gain) if one.gain else "",
            _readers(self.clause, one.gain) if one.gain else "",
        )


def measure_words(clause: Clause) -> str:
    """What a clause compares; the sign of absence where it is a conclusion."""
    return clause.measure.words if clause.measure else ABSENT


def pairs_inside(direction: Direction, gain: PairedGain) -> int:
    """Number of pairs whose difference lies in a direction."""
    low, high = direction
    return sum(low < found < high for found in gain.by_pair.values())


def pairs_asked(clause: Clause, gain: PairedGain) -> int:
    """Number of pairs that a clause with a condition on pairs checks."""
    return gain.pairs if clause.pairs is Pairs.EVERY else len(gain.by_pair)


def lies_in(direction: Direction, interval: Interval) -> bool:
    """Whether a whole interval lies in a direction; never for undefined bounds."""
    return direction.low < interval.low and interval.high < direction.high


def _pairs(clause: Clause, gain: PairedGain) -> str:
    assert clause.direction
    count = pairs_asked(clause, gain)
    return f"{pairs_inside(clause.direction, gain)} of {count}" if count else ""


def _readers(clause: Clause, gain: PairedGain) -> str:
    if not clause.each_reader:
        return ""
    assert clause.direction
    inside = [lies_in(clause.direction, one) for one in gain.by_reader.values()]
    return f"{sum(inside)} of {len(inside)}"
