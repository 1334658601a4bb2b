"""What an experiment is: arms, and a way to build each."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import Config
from common.config_file import validated
from common.material import Material
from common.params import ExperimentParams, check_arm, load_params
from common.paths import EXPERIMENTS
from common.profile import Profile

REPORT_ONLY = ("findings", "rule")
"""Files of an experiment's folder that no run depends on."""


@dataclass(frozen=True)
class Experiment:
    """One ablation.

    `build` turns an arm's settings into what its class trains: a fresh AR, or a recipe. What is
    asked of the results stands in rule.py beside it (common/report/rule.py).
    """

    name: str
    arm_config: type[Config]
    arm_class: Any
    """A subclass of Arm (common/arms): what kind of model the arms train, and how."""
    build: Callable[[Any, Material], Any]

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: loaded there."""
        return load_experiment, (self.name,)

    @property
    def folder(self) -> Path:
        """Where its README, params.yaml and dvc.yaml are."""
        return EXPERIMENTS / self.name

    @property
    def code(self) -> list[Path]:
        """The files that a run of an arm depends on: all but what only the report needs."""
        files = self.folder.glob("[!_]*.py")
        return sorted(file for file in files if file.stem not in REPORT_ONLY)

    @property
    def params(self) -> ExperimentParams:
        """params.yaml; NlaError for an unknown key or a missing control."""
        return load_params(self.name)

    def arms_at(self, profile: str) -> list[str]:
        """The arms that a profile runs, in the order of params.yaml."""
        return self.params.arms_at(profile)

    def seeds_of(self, arm: str, profile: Profile) -> tuple[int, ...]:
        """The training seeds of an arm."""
        return self.params.seeds_of(arm, profile)

    def arms_of(self, material: Material) -> list[Any]:
        """Those arms, ready to be tuned, run and checked."""
        profile = material.profile
        names = self.arms_at(profile.name)
        return [self.arm_class(self, name, profile, material) for name in names]

    def arm(self, name: str) -> Any:
        """The validated settings of an arm; NlaError for one that is unknown, or a wrong key."""
        check_arm(self.name, name)
        file, settings = self.folder / "params.yaml", self.params.arms[name]
        return validated(self.arm_config, settings, file, inside=("arms", name))


def load_experiment(name: str) -> Experiment:
    """The `EXPERIMENT` of `experiments/<name>/experiment.py`; NlaError lists the known ones."""
    load_params(name)
    return importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT
