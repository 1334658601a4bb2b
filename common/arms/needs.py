"""The runs of a pair, as what other runs are made from."""

from pathlib import Path
from typing import Any

from common.arms.arm import Arm, ArmPlan, Need, NoSettings
from common.paths import WARM_START
from common.trunk.artefacts import Trunk
from common.trunk.choice import TrunkChoice


def av_need(trunk: Trunk) -> Need:
    """The warm-started AV of a pair."""
    return Need("av", trunk.places.av_runs, lambda: trunk.av_run.summary["digest"])


def ar_need(trunk: Trunk) -> Need:
    """The warm-started AR of a pair."""
    return Need("ar", trunk.places.ar_runs, lambda: trunk.ar_run.summary["digest"])


def warm_start_plan(runs: Path, choice: TrunkChoice) -> ArmPlan:
    """The plan of stage `av` or `ar`, with a seed for each pair; `runs` is their folder."""
    pairs = tuple(range(choice.profile.warm_starts))
    return ArmPlan(WARM_START, runs.name, NoSettings(), choice, pairs)


def load_warm_start(arm: Arm, pair: int) -> Any:
    """A pair's model; NlaError when it was not trained with the present settings and data."""
    from common.lifecycle.check import check_run

    return arm.load(check_run(arm, pair))
