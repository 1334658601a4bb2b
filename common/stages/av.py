"""Warm-start the AV of every pair."""

from common.arms.verbalizer import warm_start_av
from common.lifecycle.make import make_run
from common.trunk.choice import TrunkChoice


def make(choice: TrunkChoice) -> None:
    """Make a run for each pair; a finished run is left alone."""
    arm = warm_start_av(choice)
    for pair in arm.seeds:
        make_run(arm, pair)
