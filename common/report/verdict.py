"""What a decision rule found: one row per contrast of arms, and the sentence that they make."""

from typing import NamedTuple

from common.metrics.statistics import Interval

SHOWN, NOT_SHOWN, OTHER_WAY, NOT_MEASURED = "shown", "not shown", "the other way", "not measured"


class Finding(NamedTuple):
    """One row of the verdict's table: a clause of the decision rule, applied."""

    clause: str
    """`The round trip improves`."""
    contrast: str
    """`control` - `warm_start`, in Markdown; one row per contrast."""
    measure: str
    """`FVE under its own AR`."""
    status: str
    """SHOWN, NOT_SHOWN, OTHER_WAY or NOT_MEASURED."""
    difference: Interval | None
    """In units of the measure."""
    p_value: float | None
    """Corrected over the clause's contrasts; None where the rule asks for none."""
    seeds: str
    """`3 of 3`: training seeds that point the way the clause says."""


class Verdict(NamedTuple):
    """A decision rule, applied to the results of one experiment."""

    sentence: str
    """Plain words that answer the question."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    """Runs that were stopped early, arms that are left out, ...: a sentence each."""
    key: Finding | None = None
    """The finding whose figure stands in the index."""
