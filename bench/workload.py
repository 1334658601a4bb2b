"""What is measured on: the laptop profile's trunk where it is there, else the tiny one."""

import os
from pathlib import Path
from typing import NamedTuple

from common.config import Profile, TrainerConfig, load_profile
from common.device import gains_from_bfloat16
from common.material import Material
from common.paths import Trunk
from common.trunk import run_stage

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


FULL = Scale(rounds=5, documents=64, reader_batch=32, ar_steps=6, av_steps=4)
QUICK = Scale(rounds=1, documents=12, reader_batch=8, ar_steps=2, av_steps=2)


class Workload(NamedTuple):
    """A profile whose trunk exists, on the CPU, in bfloat16 where the machine gains from it."""

    profile: Profile
    scale: Scale
    note: str

    @property
    def low_precision(self) -> bool:
        """Whether our training runs in bfloat16 autocast."""
        return self.profile.trainer.precision.startswith("bf16")

    def material(self) -> Material:
        """The trunk, with a target of its own (an AV changes the target it is made of)."""
        return Material(self.profile)


def laptop_is_there() -> bool:
    """Whether the laptop profile's trunk is made as far as the explanations."""
    trunk = Trunk("laptop")
    return trunk.explanations.exists() and (trunk.activations / "manifest.json").exists()


def workload(quick: bool) -> Workload:
    """The real model and its data, or (`quick`, or nothing made yet) the tiny one.

    The tiny trunk is made under `.bench/tiny`, and the process moves there.
    """
    scale = QUICK if quick else FULL
    if not quick and laptop_is_there():
        return _on_cpu("laptop", scale, "SmolLM2-135M and its trunk (profile laptop)")
    note = "tiny random model"
    if not quick:
        note += ": for the real one run `nla profile laptop && dvc repro explanations`"
    TINY.mkdir(parents=True, exist_ok=True)
    os.chdir(TINY)
    made = _on_cpu("smoke", scale, note)
    if not Trunk("smoke").explanations.exists():
        for stage in STAGES:
            run_stage(stage, made.profile)
    return made


def _on_cpu(name: str, scale: Scale, note: str) -> Workload:
    precision = "bf16-mixed" if gains_from_bfloat16() else "32-true"
    trainer = TrainerConfig(accelerator="cpu", precision=precision)
    return Workload(load_profile(name).replace(trainer=trainer), scale, note)
