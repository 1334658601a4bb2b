"""What an experiment is: arms, and what is evaluated over all of them.

Its question and its decision rule are in its rule.py, which no run imports.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.arms.arm import Arm, ArmPlan
from common.arms.evaluation import Evaluation
from common.config_file import validated
from common.errors import NlaError
from common.params import ArmEntry, ExperimentParams, check_arm, load_params
from common.paths import EXPERIMENTS
from common.profile import Profile
from common.trunk.choice import TrunkChoice
from common.trunk.named import trunk_named


@dataclass(frozen=True)
class Experiment:
    """One ablation: `EXPERIMENT` in `experiments/<name>/experiment.py`."""

    name: str
    arms: "type[Arm] | Mapping[str, type[Arm]]"
    """The class of all arms, or one class for each `kind` that arms in params.yaml name."""
    evaluations: tuple[Evaluation, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name: another process loads the experiment itself."""
        return load_experiment, (self.name,)

    @property
    def folder(self) -> Path:
        """Where its README, params.yaml and dvc.yaml are."""
        return EXPERIMENTS / self.name

    @property
    def params(self) -> ExperimentParams:
        """params.yaml; NlaError for an unknown key or a missing control."""
        return load_params(self.name)

    def arms_at(self, profile: Profile) -> list[Arm]:
        """The arms that a profile compares, in the order of params.yaml."""
        return [arm for arm in self._arms(profile) if arm.compared]

    def arms_made_at(self, profile: Profile) -> list[Arm]:
        """Those that others are made from, these, and those whose runs its evaluations make."""
        every = self._arms(profile)
        first = [arm for arm in every if not arm.compared]
        arms = [arm for arm in every if arm.compared]
        return [*first, *arms, *(own for each in self.evaluations for own in each.own_arms(arms))]

    def _arms(self, profile: Profile) -> list[Arm]:
        return [self.arm(name, profile) for name in self.params.arms_at(profile.name)]

    def arm(self, name: str, profile: Profile) -> Arm:
        """An arm at a profile; NlaError for an unknown arm, or a wrong key.

        An arm that is taken over (`from`) is the other experiment's, under the name that it has
        here.
        """
        check_arm(self.name, name)
        params = self.params
        entry = params.arms[name]
        if entry.taken_from:
            taken = _lent(*entry.taken_from, profile)
            return type(taken)(replace(taken.plan, label=name))
        kind, file = self._class_of(name, entry), self.folder / "params.yaml"
        settings = validated(kind.settings_class, entry.settings, file, inside=("arms", name))
        trunk = trunk_named(entry.trunk_in(self.name), profile)
        seeds = params.seeds_of(name, trunk.profile)
        return kind(ArmPlan(self.name, name, settings, trunk, seeds, params.search))

    def _class_of(self, name: str, entry: ArmEntry) -> type[Arm]:
        where, kinds = self.folder / "params.yaml", self.arms
        if not isinstance(kinds, Mapping):
            if entry.kind:
                remedy = "leave `kind` out"
                raise NlaError(f"arms.{name}: all arms are of one kind", where=where, remedy=remedy)
            return kinds
        if entry.kind not in kinds:
            remedy = f"let `kind` be one of {', '.join(kinds)}"
            raise NlaError(f"arms.{name}: no kind {entry.kind!r}", where=where, remedy=remedy)
        return kinds[entry.kind]


def load_experiment(name: str) -> Experiment:
    """The `EXPERIMENT` of `experiments/<name>/experiment.py`; NlaError lists the known ones."""
    load_params(name)
    return importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT


def _lent(experiment: str, name: str, profile: Profile) -> Arm:
    """An arm for another experiment; NlaError for one that this one has not made itself."""
    check_arm(experiment, name)
    if source := load_params(experiment).arms[name].taken_from:
        what, where = f"{experiment}/{name} is itself taken over", EXPERIMENTS / experiment
        raise NlaError(what, where=where / "params.yaml", remedy=f"say `from: {'/'.join(source)}`")
    return load_experiment(experiment).arm(name, profile)


def trunks_of(arms: Sequence[Arm]) -> dict[str, TrunkChoice]:
    """{name: trunk} of the trunks that some arms use; the name of the profile's own is empty."""
    return {arm.plan.trunk.places.name: arm.plan.trunk for arm in arms}
