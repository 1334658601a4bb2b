"""Which arms there are, and the settings that let each train in seconds."""

import importlib
from typing import Any

import pytest
import yaml

from common.arms.arm import Arm
from common.experiment import Experiment
from common.tuning.study import Best
from tests.clone import ROOT

TUNED = Best({"learning_rate": 1e-3}, (0.0,), 0, 1)


def loaded(name: str) -> Experiment:
    """An experiment, wherever the tests were started."""
    return importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT


def arms_of(kind: type[Arm]) -> list[Any]:
    """Experiment and arm of every arm of a class."""
    found = []
    for file in sorted(ROOT.glob("experiments/*/params.yaml")):
        kinds = loaded(file.parent.name).arms
        for arm, entry in yaml.safe_load(file.read_text())["arms"].items():
            own = kinds if isinstance(kinds, type) else kinds[entry.get("kind", "")]
            if issubclass(own, kind) and "from" not in entry:
                found.append(pytest.param(file.parent.name, arm, id=f"{file.parent.name}/{arm}"))
    return found
