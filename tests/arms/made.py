"""Arms of our experiments, and runs of them that are made once."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.arms.arm import Arm, ArmPlan, NoSettings
from common.experiment import Experiment, load_experiment
from common.lifecycle.make import make_run
from common.lifecycle.tune import NOTHING_TUNED
from common.profile import Profile
from common.runs import RunFolder
from common.stages.run import run_stage
from common.trunk.choice import SECTIONS, TrunkChoice, choose_trunk
from common.tuning.study import Best

ROOT = Path(__file__).parents[2]
TUNED = Best({"learning_rate": 1e-3}, (0.0,), 0, 1)


def arms_of(kind: type[Arm], besides: tuple[type[Arm], ...] = ()) -> list[Any]:
    """Experiment and arm of every arm of a class, but for some, that reports compare."""
    found = []
    for file in sorted(ROOT.glob("experiments/*/params.yaml")):
        experiment, entries = loaded(file.parent.name), yaml.safe_load(file.read_text())["arms"]
        for arm, entry in entries.items():
            if "from" in entry:
                continue
            kinds = experiment.arms
            own = kinds[entry["kind"]] if isinstance(kinds, Mapping) else kinds
            asked = issubclass(own, kind) and not issubclass(own, besides)
            if asked and own.compared:
                found.append(pytest.param(experiment.name, arm, id=f"{experiment.name}/{arm}"))
    return found


def loaded(name: str) -> Experiment:
    """An experiment, wherever the tests were started."""
    return importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT


def arm_named(name: str, profile: Profile) -> Any:
    """`<experiment>/<arm>`."""
    experiment, _, arm = name.partition("/")
    return load_experiment(experiment).arm(arm, profile)


def run_of(arm: Arm, seed: int = 0) -> RunFolder:
    """Its run, with a rate of the test's own where rates are searched for."""
    make_trunk(arm.plan.trunk)
    return make_run(arm, seed, TUNED if arm.plan.search else NOTHING_TUNED)


def make_trunk(choice: TrunkChoice) -> None:
    """The stages that a trunk of an experiment makes itself, once in each folder."""
    for stage in SECTIONS:
        if stage in choice.places.own and not choice.places.of(stage).exists():
            run_stage(stage, choice)


def plan_of(profile: Profile, name: str, seeds: tuple[int, ...] = (0,)) -> ArmPlan:
    """For an arm of no experiment."""
    return ArmPlan("throwaway", name, NoSettings(), choose_trunk(profile), seeds)
