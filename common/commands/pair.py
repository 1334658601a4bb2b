"""An AV and an AR that belong together, loaded from a run or from a release."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from common.arms.arm import Arm
from common.commands.places import is_release
from common.errors import NlaError
from common.evaluation.conditions import ORIGINAL
from common.evaluation.test_set import TestSet
from common.experiment import load_experiment
from common.manifest import manifest_file, read_manifest
from common.metrics.standing import Standing, familiar, novelty, percentiles
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer
from common.paths import RELEASED, TrunkPlaces
from common.profile import Profile, is_active
from common.release.released import load_released
from common.runs import RunFolder
from common.schema import AV, KEY, View, nothing
from common.stages.run import run_stage
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk


class Pair(NamedTuple):
    """Two models that explain and read, and what is known of their quality."""

    verbalizer: Verbalizer
    reconstructor: Reconstructor
    layer: int
    variance: float
    """The denominator of FVE."""
    standing: Standing | None
    """How its cosines are distributed in the test; None for a release made without it."""
    view: View = nothing
    """What the AR may see of an input, beside the explanation."""


def load_pair(trunk: Trunk, place: Path) -> Pair:
    """AV and AR of a run or of a release; `trunk` is the profile's."""
    if is_release(place):
        found = load_released(place, trunk.target)
        facts, models = found.manifest, (found.verbalizer, found.reconstructor)
        known = {name: facts[name] for name in ("layer", "variance")}
        return Pair(*models, **known, standing=found.standing)
    folder = RunFolder(place)
    arm = arm_of(folder, trunk.profile)
    tests = tests_of(folder, arm)
    models, variance = arm.test_pair(folder), tests.variances()[0]
    standing = standing_of(folder, tests)
    known = {"layer": tests.trunk.layer, "variance": variance, "view": arm.test_sees(folder.seed)}
    return Pair(*models, **known, standing=standing)


def reads_of(place: Path, profile: Profile) -> tuple[int, int]:
    """The first position that a pair was trained on, and its maximum number of tokens."""
    released = is_release(place)
    settings = (profile if released else arm_of(RunFolder(place), profile).profile).activations
    own = {"min_position": settings.min_position, "max_tokens": settings.max_tokens}
    told = read_manifest(place, RELEASED.name).get("reads", own) if released else own
    return told["min_position"], told["max_tokens"]


def arm_of(folder: RunFolder, profile: Profile) -> Arm:
    """The arm that a run belongs to."""
    _, experiment, name, _ = folder.identity
    return load_experiment(experiment).arm(name, profile)


def tests_of(folder: RunFolder, arm: Arm) -> TestSet:
    """The test set of a run."""
    return arm.test_set(folder.seed)


def round_trip(folder: RunFolder) -> pl.DataFrame:
    """The round trip of a run on the test activations, by key."""
    rows = folder.table(folder.rows_file)
    return rows.filter(source=AV, transform=ORIGINAL).sort(KEY)


def standing_of(folder: RunFolder, tests: TestSet) -> Standing:
    """The standing of a finished run, from its test."""
    rows = round_trip(folder)
    errors = rows["squared_error"].to_numpy().mean()
    fve = 1 - errors / tests.variances()[0]
    return standing_with(tests, torch.tensor(rows["cosine"].to_list()), fve)


def standing_with(tests: TestSet, cosines: Tensor, fve: float) -> Standing:
    """The standing that follows from these test results."""
    known = familiar(tests.trunk.training_activations)
    new = novelty(tests.judge.activations, known)
    return Standing(percentiles(cosines), percentiles(new), known, float(fve))


def make_target(profile: Profile) -> None:
    """Make the target where it is missing, through DVC, so that DVC records it."""
    place = TrunkPlaces(profile.name).target
    if manifest_file(place).exists():
        return
    sys.stderr.write(f"{place} is not there yet: made once, with `dvc repro target`\n")
    if not is_active(profile.name):
        run_stage("target", choose_trunk(profile))
        return
    command = [sys.executable, "-m", "dvc", "repro", "--quiet", "target"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if subprocess.run(command, env=os.environ | {"PATH": path}, check=False).returncode:
        remedy = "mend what is said above, or run it by hand"
        raise NlaError("`dvc repro target` failed", where=place, remedy=remedy)
