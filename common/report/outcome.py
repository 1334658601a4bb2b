"""The outcome of a clause: the status of each contrast, before it is put into words."""

from typing import NamedTuple

from common.report.clauses import Clause, Contrast, Seeds
from common.report.markdown import ABSENT, bounds
from common.report.paired import PairedGain
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, SHOWN, Finding
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
    def words(self) -> str:
        """Such as `control` - `tfidf_ridge`: the best floor by its name, if it is known."""
        arm, other = self.contrast
        return contrast_words(Contrast(arm, self.gain.other if self.gain else other))

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
        if statuses == {SHOWN}:
            return SHOWN, ABSENT
        status = NOT_MEASURED if statuses <= {SHOWN, NOT_MEASURED} else NOT_SHOWN
        return status, next((one.figure for one in same if one.status != SHOWN), ABSENT)

    def _finding(self, one: Judged) -> Finding:
        return Finding(
            self.clause.name,
            one.words,
            measure_words(self.clause),
            one.status,
            one.gain.difference if one.gain else None,
            one.p_value,
            _seeds(self.clause, one.gain) if one.gain else "",
        )


def measure_words(clause: Clause) -> str:
    """What a clause compares; the sign of absence where it is a conclusion."""
    return clause.measure.words if clause.measure else ABSENT


def seeds_inside(clause: Clause, gain: PairedGain) -> int:
    """Number of training seeds whose difference lies in the clause's direction."""
    assert clause.direction
    low, high = clause.direction
    return sum(low < found < high for found in gain.by_seed.values())


def seeds_asked(clause: Clause, gain: PairedGain) -> int:
    """Number of training seeds that a clause with a condition on seeds checks."""
    return gain.seeds if clause.seeds is Seeds.EVERY else len(gain.by_seed)


def _seeds(clause: Clause, gain: PairedGain) -> str:
    count = seeds_asked(clause, gain)
    return f"{seeds_inside(clause, gain)} of {count}" if count else ""
