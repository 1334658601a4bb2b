"""The result of a decision rule: one row per contrast of arms, and the sentence made of them."""

from typing import NamedTuple

from common.metrics.statistics import Interval

SHOWN, NOT_SHOWN, OTHER_WAY, NOT_MEASURED = "shown", "not shown", "the other way", "not measured"


class Finding(NamedTuple):
    """One row of the verdict's table: a clause of the decision rule, applied to one contrast."""

    clause: str
    """Such as `The round trip improves`."""
    contrast: str
    """Such as `control` - `warm_start`, in Markdown."""
    measure: str
    """Such as `FVE under its own AR`."""
    status: str
    """SHOWN, NOT_SHOWN, OTHER_WAY or NOT_MEASURED."""
    difference: Interval | None
    """The difference, in units of the measure."""
    p_value: float | None
    """The p-value, corrected over the clause's contrasts; None where the rule needs none."""
    pairs: str
    """Such as `3 of 3`: pairs that lie in the clause's direction."""
    readers: str = ""
    """Such as `3 of 3`: neutral ARs under which the whole interval lies there."""


class Verdict(NamedTuple):
    """A decision rule, applied to the results of one experiment."""

    sentence: str
    """The answer to the question, in plain words."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    """Notes on runs that were stopped early, arms that are left out, ...: a sentence each."""
    key: Finding | None = None
    """The finding whose figure the index shows."""
