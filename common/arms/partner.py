"""The AR that an AV is trained against."""

from collections.abc import Callable
from typing import NamedTuple

from common.arms.arm import Need
from common.arms.needs import ar_need
from common.arms.reconstructor import ReconstructorArm, load_ar
from common.errors import NlaError
from common.models.reconstructor import Reconstructor
from common.runs import RunFolder
from common.schema import View, nothing
from common.trunk.artefacts import Trunk


class Partner(NamedTuple):
    """An AR that has learned to read the warm-started AV and its teacher."""

    run: RunFolder
    """The run in which it was trained."""
    need: Need
    load: Callable[[], Reconstructor]
    """A fresh copy from the checkpoint."""
    learning_rate_factor: Callable[[], float] = lambda: 1.0
    """Its best learning rate divided by the profile's: scales rl.ar_learning_rate."""
    view: View = nothing
    """What the AR may see of an input."""


def warm_started(trunk: Trunk) -> Partner:
    """The AR of stage `ar`."""
    return Partner(trunk.ar_run, ar_need(trunk), lambda: load_ar(trunk))


def finished(experiment: str, arm: str, trunk: Trunk, seed: int) -> Partner:
    """The AR of an arm, perhaps of another experiment: of this seed, else the pair's first.

    NlaError for an arm of another trunk, which reads other texts, or without a run of this pair;
    when its digest is computed, if the run is missing or not as it would be made today.
    """
    from common.experiment import load_experiment
    from common.lifecycle.check import check_run

    trained = load_experiment(experiment).arm(arm, trunk.choice.profile)
    if not isinstance(trained, ReconstructorArm):
        raise NlaError(f"{experiment}/{arm} trains no AR", remedy="name an arm that does")
    if trained.plan.trunk.places.name != trunk.places.name:
        what = f"{experiment}/{arm} reads the texts of another trunk"
        raise NlaError(what, remedy="let both arms name the same `trunk`")
    own = seed if seed in trained.seeds else trained.first_seeds.get(trunk.pair)
    if own is None:
        what = f"{experiment}/{arm} has no run of pair {trunk.pair}"
        raise NlaError(what, remedy="let it run as many `seeds`")
    run = trained.run_folder(own)

    def digest() -> str:
        check_run(trained, own)
        return run.summary["digest"]

    def factor() -> float:
        usual = trained.profile.ar.learning_rate
        return run.summary.get("learning_rate", usual) / usual

    need = Need("ar", trained.folder, digest)
    return Partner(run, need, lambda: trained.load(run), factor, trained.view)
