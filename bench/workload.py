"""What is measured on: the laptop profile's trunk where it is there, else the tiny one."""

import shutil
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

from common.config import TrainerConfig
from common.device import gains_from_bfloat16, in_bfloat16
from common.paths import TrunkPlaces
from common.profile import Profile, load_profile
from common.stages.run import run_stage
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk

ROOT = Path(__file__).parent.parent
TINY = ROOT / ".bench" / "tiny"
STAGES = ("target", "corpus", "activations", "explanations")


class Scale(NamedTuple):
    """How much one measurement does."""

    rounds: int
    documents: int
    """Documents read in one extraction."""
    reader_batch: int
    """Documents in a padded batch of the alternatives."""
    ar_steps: int
    av_steps: int
    """Optimiser steps of one training measurement."""


FULL = Scale(rounds=5, documents=32, reader_batch=8, ar_steps=4, av_steps=3)
QUICK = Scale(rounds=1, documents=12, reader_batch=8, ar_steps=2, av_steps=2)


class Workload(NamedTuple):
    """A profile whose trunk exists below `place`, the working directory of every measurement.

    On the CPU, in bfloat16 where the machine gains from it.
    """

    profile: Profile
    place: Path
    scale: Scale
    note: str

    @property
    def is_real(self) -> bool:
        """Whether the model is a real one; the tiny one only shows that everything runs."""
        return self.place == ROOT

    @property
    def low_precision(self) -> bool:
        """Whether our training runs in bfloat16 autocast."""
        return in_bfloat16(self.profile.trainer.precision)

    def trunk(self) -> Trunk:
        """A fresh view of the trunk, with a target of its own."""
        return Trunk(choose_trunk(self.profile))


def workload(quick: bool, tiny: Path = TINY) -> Workload:
    """The real model and its data, or (`quick`, or nothing made yet) a tiny one in `tiny`."""
    scale = QUICK if quick else FULL
    if not quick and _laptop_is_there():
        return _on_cpu("laptop", ROOT, scale, "SmolLM2-135M and its trunk (profile laptop)")
    note = "tiny random model"
    if not quick:
        note += "; for the real one run `nla profile laptop && dvc repro explanations`"
    made = _on_cpu("smoke", tiny, scale, note)
    shutil.rmtree(tiny, ignore_errors=True)
    tiny.mkdir(parents=True)
    with chdir(tiny):
        for stage in STAGES:
            run_stage(stage, choose_trunk(made.profile))
    return made


def _laptop_is_there() -> bool:
    places = TrunkPlaces("laptop")
    folders = (places.target, places.activations)
    made = (*(folder / "manifest.json" for folder in folders), places.explanations)
    return all((ROOT / file).exists() for file in made)


def _on_cpu(name: str, place: Path, scale: Scale, note: str) -> Workload:
    precision = "bf16-mixed" if gains_from_bfloat16() else "32-true"
    trainer = TrainerConfig(accelerator="cpu", precision=precision)
    return Workload(load_profile(name).replace(trainer=trainer), place, scale, note)
