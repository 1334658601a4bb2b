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
    """The AR of an arm of another experiment: of this seed if there is one, else of its first.

    When its digest is computed, NlaError if the run is missing or not as it would be made today.
    """
    from common.experiment import load_experiment
    from common.lifecycle.check import check_run

    trained = load_experiment(experiment).arm(arm, trunk.choice.profile)
    if not isinstance(trained, ReconstructorArm):
        raise NlaError(f"{experiment}/{arm} trains no AR", remedy="name an arm that does")
    own = seed if seed in trained.seeds else trained.seeds[0]
    run = trained.run_folder(own)

    def digest() -> str:
        check_run(trained, own)
        return run.summary["digest"]

    def factor() -> float:
        return run.summary["learning_rate"] / trained.profile.ar.learning_rate

    need = Need("ar", trained.folder, digest)
    return Partner(run, need, lambda: trained.load(run), factor, trained.view)
