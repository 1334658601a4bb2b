"""The trunk's floors and ceiling, for experiments whose arms all read the trunk's texts."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from common.arms.arm import Arm
from common.arms.evaluation import Collected, Evaluation
from common.evaluation.trunk_floors import floors_made_of
from common.manifest import read_artefact, read_manifest


class TrunkFloors(Evaluation):
    """The result of stage `floors`, for the pair of each seed of the control."""

    name = "floors"
    has_stage = False

    def places(self, arms: Sequence[Arm]) -> list[Path]:
        """The floors of the trunk."""
        return [arms[0].trunk(0).places.all_floors]

    def collect(self, arms: Sequence[Arm]) -> Collected:
        """Rows under the first seed of each pair, and the reasons why some floors are missing."""
        first, frames, missing = arms[0], [], {}
        for seed in sorted(first.first_seeds.values()):
            trunk = first.trunk(seed)
            file, made_of = trunk.places.floors(trunk.pair), floors_made_of(trunk)
            rows = read_artefact(file, trunk.places.made_by("floors"), **made_of)
            frames.append(rows.with_columns(seed=pl.lit(seed, pl.Int64)))
            missing |= read_manifest(file, "floors").get("missing", {})
        return Collected(pl.concat(frames), facts={"missing_floors": missing})
