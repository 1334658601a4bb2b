"""What an experiment is: arms, a way to build each, a question, and a rule that decides."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from common.config import ARConfig, Config, RLConfig, load_config
from common.errors import NlaError
from common.material import Material
from common.paths import EXPERIMENTS
from common.profile import Profile
from common.report.results import CONTROL, Results
from common.report.section import Section
from common.tuning.study import SearchSpace

REPORT_ONLY = ("findings",)
"""Files of an experiment's folder that no run depends on."""


class ExperimentParams(Config):
    """An experiment's params.yaml."""

    arms: dict[str, dict[str, Any]]
    """Name → settings of the arm, in the order of the report; `control` is one of them."""
    only: dict[str, tuple[str, ...]] = Field(default={})
    """Profile → the arms that it runs; a profile that is not named runs all."""
    seeds: dict[str, dict[str, PositiveInt]] = Field(default={})
    """Profile → arm → how many of the profile's training seeds it runs; all where nothing is said.

    For arms that answer a side question at the price of the main one. No arm runs more than
    `control`, which all are compared with.
    """
    search: SearchSpace
    """Numbers of the profile's `ar` (or `rl`) that every arm's study searches; {}: no study."""

    @field_validator("search")
    @classmethod
    def _known(cls, search: SearchSpace) -> SearchSpace:
        fields = {**ARConfig.model_fields, **RLConfig.model_fields}
        known = [name for name, field in fields.items() if field.annotation is float]
        if unknown := [name for name in search if name not in known]:
            raise ValueError(f"unknown setting {unknown[0]!r}, choose from {', '.join(known)}")
        return search

    @model_validator(mode="after")
    def _chosen(self) -> "ExperimentParams":
        for profile, arms in self.only.items():
            if unknown := [arm for arm in arms if arm not in self.arms]:
                raise ValueError(f"only.{profile}: unknown arm {unknown[0]!r}")
            if CONTROL not in arms:
                raise ValueError(f"only.{profile}: `{CONTROL}` is missing")
        for profile, counts in self.seeds.items():
            if unknown := [arm for arm in counts if arm not in self.arms]:
                raise ValueError(f"seeds.{profile}: unknown arm {unknown[0]!r}")
        return self


@dataclass(frozen=True)
class Experiment:
    """One ablation.

    `build` turns an arm's settings into what its class trains: a fresh AR, or a recipe. `verdict`
    applies the decision rule, which the experiment's README states before the run, to the collected
    results. `sections` adds what only this experiment's report shows.
    """

    name: str
    question: str
    decision_rule: str
    arm_config: type[Config]
    arm_class: Any
    """A subclass of Arm (common/arms): what kind of model the arms train, and how."""
    build: Callable[[Any, Material], Any]
    verdict: Callable[[Results], str]
    sections: Callable[[Results], list[Section]]

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
        params = load_config(ExperimentParams, self.folder / "params.yaml")
        if CONTROL not in params.arms:
            raise NlaError(
                "no arm named `control`", where=self.folder / "params.yaml", remedy="add it"
            )
        return params

    def arms_at(self, profile: str) -> list[str]:
        """The arms that a profile runs, in the order of params.yaml."""
        params = self.params
        return [arm for arm in params.arms if arm in params.only.get(profile, params.arms)]

    def seeds_of(self, arm: str, profile: Profile) -> tuple[int, ...]:
        """The training seeds of an arm."""
        seeds, fewer = profile.tuning.seeds, self.params.seeds.get(profile.name, {})
        return seeds[: min(fewer.get(name, len(seeds)) for name in (arm, CONTROL))]

    def arms_of(self, material: Material) -> list[Any]:
        """Those arms, ready to be tuned, run and checked."""
        profile = material.profile
        names = self.arms_at(profile.name)
        return [self.arm_class(self, name, profile, material) for name in names]

    def arm(self, name: str) -> Any:
        """The validated settings of an arm."""
        where = self.folder / "params.yaml"
        if name not in self.params.arms:
            known = ", ".join(self.params.arms)
            raise NlaError(f"unknown arm {name!r}", where=where, remedy=f"choose one of {known}")
        try:
            return self.arm_config.model_validate(self.params.arms[name])
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(["arms", name, *map(str, first["loc"])])
            raise NlaError(
                f"config key {key!r}: {first['msg']}",
                where=where,
                remedy=f"see {self.arm_config.__name__}",
            ) from error


def load_experiment(name: str) -> Experiment:
    """The `EXPERIMENT` of `experiments/<name>/experiment.py`; NlaError lists the known ones."""
    if not (EXPERIMENTS / name / "experiment.py").exists():
        known = ", ".join(sorted(path.parent.name for path in EXPERIMENTS.glob("*/experiment.py")))
        raise NlaError(
            f"unknown experiment {name!r}", where=EXPERIMENTS, remedy=f"choose one of {known}"
        )
    return importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT
