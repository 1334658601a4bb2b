"""What an experiment evaluates over all of its arms, once their runs are finished."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import polars as pl

from common.arms.arm import Arm


class Collected(NamedTuple):
    """What an evaluation adds to an experiment's results; tables have the columns arm and seed."""

    rows: pl.DataFrame | None = None
    measures: pl.DataFrame | None = None
    curves: pl.DataFrame | None = None
    facts: Mapping[str, Any] = {}


class Evaluation:
    """One evaluation over all arms, listed in `Experiment.evaluations`."""

    name: ClassVar[str]
    """Name of its DVC stage, `<experiment>-<name>`."""
    has_stage: ClassVar[bool] = True
    """Whether it is run with `nla evaluate`; if not, it is only collected."""
    sections: ClassVar[tuple[str, ...]] = ()
    """Parts of the profile that it reads."""

    def places(self, arms: Sequence[Arm]) -> list[Path]:
        """The files or folders that it makes, if it has a stage, or reads beside the runs."""
        return []

    def own_arms(self, arms: Sequence[Arm]) -> list[Arm]:
        """Those whose runs it makes itself."""
        return []

    def run(self, arms: Sequence[Arm]) -> None:
        """Make its results; what is done already is not done again."""

    def collect(self, arms: Sequence[Arm]) -> Collected:
        """Its tables for the report; NlaError when they are missing or belong to other runs."""
        return Collected()
