"""The AR that an AV is trained against."""

from collections.abc import Callable
from typing import NamedTuple

from common.arms.reconstructor import ReconstructorArm
from common.experiment import load_experiment
from common.material import Material
from common.models.reconstructor import Reconstructor
from common.runs import RunFolder
from common.warm_start import load_ar


class Partner(NamedTuple):
    """An AR that has learned to read the warm-started AV and its teacher."""

    run: RunFolder
    """Where it was trained; what is trained on from here names this run's digest."""
    load: Callable[[], Reconstructor]
    """A fresh copy from the checkpoint."""
    pace: float = 1.0
    """The rate that it learned best with, in units of the profile's; rl.ar_learning_rate scales."""


def warm_started(material: Material) -> Partner:
    """The AR of stage `ar`."""
    return Partner(material.ar_run, lambda: load_ar(material))


def finished(experiment: str, arm: str, material: Material) -> Partner:
    """The AR of an arm's first seed in another experiment; NlaError when missing or outdated."""
    trained = ReconstructorArm(load_experiment(experiment), arm, material.profile, material)
    run = trained.run_folder(trained.seeds[0])
    trained.check(run)
    pace = run.summary["learning_rate"] / material.profile.ar.learning_rate
    return Partner(run, lambda: trained.load_reconstructor(run), pace)
