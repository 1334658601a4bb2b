"""The runs of a pair, as what other runs are made from."""

from common.arms.arm import Need
from common.trunk.artefacts import Trunk


def av_need(trunk: Trunk) -> Need:
    """The warm-started AV of a pair."""
    return Need("av", trunk.places.av_runs, lambda: trunk.av_run.summary["digest"])


def ar_need(trunk: Trunk) -> Need:
    """The warm-started AR of a pair."""
    return Need("ar", trunk.places.ar_runs, lambda: trunk.ar_run.summary["digest"])
