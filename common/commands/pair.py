"""An AV and an AR that belong together, loaded from a run or from a release."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor

from common.commands.places import is_release
from common.commands.trunk import run_stage
from common.errors import NlaError
from common.evaluation.conditions import ORIGINAL
from common.experiment import load_experiment
from common.manifest import manifest_file, read_manifest
from common.material import Material
from common.metrics.standing import Standing, familiar, novelty, percentiles
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer
from common.paths import RELEASED, Trunk
from common.profile import Profile, is_active
from common.release.released import load_released
from common.runs import RunFolder
from common.schema import AV, KEY


class Pair(NamedTuple):
    """What speaks and reads, and what is known of how well."""

    verbalizer: Verbalizer
    reconstructor: Reconstructor
    layer: int
    variance: float
    """The denominator of FVE."""
    standing: Standing | None
    """None for a release that was made without it."""


def load_pair(material: Material, place: Path) -> Pair:
    """AV and AR of a run or of a release."""
    if is_release(place):
        found = load_released(place, material.target)
        facts, models = found.manifest, (found.verbalizer, found.reconstructor)
        known = {name: facts[name] for name in ("layer", "variance")}
        return Pair(*models, **known, standing=found.standing)
    folder = RunFolder(place)
    models, variance = arm_of(folder, material).load(folder), material.test_variance()[0]
    standing = standing_of(folder, material)
    return Pair(*models, layer=material.layer, variance=variance, standing=standing)


def reads_of(place: Path, profile: Profile) -> tuple[int, int]:
    """From which position on a pair was trained, and on how many tokens at most."""
    settings = profile.activations
    own = {"min_position": settings.min_position, "max_tokens": settings.max_tokens}
    told = read_manifest(place, RELEASED.name).get("reads", own) if is_release(place) else own
    return told["min_position"], told["max_tokens"]


def arm_of(folder: RunFolder, material: Material) -> Any:
    """The arm that a run belongs to."""
    _, experiment, name, _ = folder.identity
    one = load_experiment(experiment)
    return one.arm_class(one, name, material.profile, material)


def round_trip(folder: RunFolder) -> pl.DataFrame:
    """The round trip of a run on the test activations, by key."""
    rows = folder.table(folder.rows_file)
    return rows.filter(source=AV, transform=ORIGINAL).sort(KEY)


def standing_of(folder: RunFolder, material: Material) -> Standing:
    """What the test of a run has shown."""
    rows = round_trip(folder)
    errors = rows["squared_error"].to_numpy().mean()
    fve = 1 - errors / material.test_variance()[0]
    return standing_with(material, torch.tensor(rows["cosine"].to_list()), fve)


def standing_with(material: Material, cosines: Tensor, fve: float) -> Standing:
    """What a test with these results has shown."""
    known = familiar(material.training_activations)
    new = novelty(material.judge.activations, known)
    return Standing(percentiles(cosines), percentiles(new), known, float(fve))


def make_target(profile: Profile) -> None:
    """Bring the target where it is missing, so that DVC finds it as if it had made it itself."""
    place = Trunk(profile.name).target
    if manifest_file(place).exists():
        return
    sys.stderr.write(f"{place} is not there yet: made once, with `dvc repro target`\n")
    if not is_active(profile.name):
        run_stage("target", profile)
        return
    command = [sys.executable, "-m", "dvc", "repro", "--quiet", "target"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if subprocess.run(command, env=os.environ | {"PATH": path}, check=False).returncode:
        remedy = "mend what is said above, or run it by hand"
        raise NlaError("`dvc repro target` failed", where=place, remedy=remedy)
