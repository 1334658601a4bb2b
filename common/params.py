"""An experiment's params.yaml: its arms, what is searched, and the training seeds of each arm.

Read before anything heavy is imported, so that a mistake in it, or in a command, shows at once.
"""

from typing import Any

from pydantic import Field, PositiveInt, model_validator

from common.config import ARConfig, AVConfig, RLConfig
from common.config_base import Config
from common.config_file import load_config
from common.errors import NlaError
from common.paths import EXPERIMENTS
from common.profile import Profile, known_profiles

CONTROL = "control"
"""The arm that all others are compared with."""


class Float(Config):
    """One number to search for, uniformly in [low, high] or in its logarithm."""

    low: float
    high: float
    log: bool = False
    relative: bool = False
    """Whether low and high are factors of the profile's own value, which scales with the target."""

    def around(self, value: float) -> "Float":
        """The same range in absolute numbers; ValueError if the profile's value is not in it."""
        scale = value if self.relative else 1.0
        found = Float(low=self.low * scale, high=self.high * scale, log=self.log)
        if not found.low <= value <= found.high:
            raise ValueError(f"{value:g} is not in [{found.low:g}, {found.high:g}]")
        return found


RESERVED = ("kind", "trunk", "from")
"""Keys of an arm that are not its own settings."""
SearchSpace = dict[str, Float]


class ArmEntry(Config):
    """What params.yaml says of an arm; keys without a field here are the arm's own settings."""

    kind: str = ""
    """Which of the experiment's classes of arms; empty if it has only one."""
    trunk: str = ""
    """A trunk of this experiment, or `<experiment>/<trunk>`; empty: the profile's own."""
    taken_from: tuple[str, str] | None = None
    """`from: <experiment>/<arm>`: an arm of another experiment is taken over, not made again."""
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _sorted(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise ValueError("not a mapping of keys to values")
        own = {name: value for name, value in values.items() if name not in RESERVED}
        found = {name: values[name] for name in ("kind", "trunk") if name in values}
        if "from" in values:
            if len(values) > 1:
                raise ValueError("`from` stands alone: the arm is taken over as it is")
            experiment, _, arm = str(values["from"]).partition("/")
            if not (experiment and arm):
                raise ValueError("`from` is <experiment>/<arm>")
            found["taken_from"] = (experiment, arm)
        return {**found, "settings": own}

    def trunk_in(self, experiment: str) -> str:
        """`<experiment>/<trunk>`, or an empty name."""
        return f"{experiment}/{self.trunk}" if self.trunk and "/" not in self.trunk else self.trunk


class ExperimentParams(Config):
    """An experiment's params.yaml. No key that DVC names has a default, since DVC knows none."""

    arms: dict[str, ArmEntry]
    """Name → the arm, in the order of the report; `control` is one of them."""
    trunks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Name → section of the profile → keys that a trunk of the experiment's own replaces."""
    only: dict[str, tuple[str, ...]]
    """Profile → the arms that it runs; a profile that is not named runs all."""
    seeds: dict[str, dict[str, PositiveInt]]
    """Profile → arm → how many of the profile's training seeds it runs; an arm not named runs all.

    For arms that answer a side question but cost as much as the main one. No arm runs more than
    `control`, which all are compared with.
    """
    search: SearchSpace
    """Numbers of what the arms tune (the profile's `ar`, `av` or `rl`, or settings of the arms
    themselves) that every arm's study searches; {}: no study."""

    @model_validator(mode="after")
    def _known(self) -> "ExperimentParams":
        fields = {**AVConfig.model_fields, **ARConfig.model_fields, **RLConfig.model_fields}
        known = [name for name, field in fields.items() if field.annotation is float]
        own = {name for arm in self.arms.values() for name in arm.settings}
        if unknown := [name for name in self.search if name not in {*known, *own}]:
            raise ValueError(f"unknown setting {unknown[0]!r}, choose from {', '.join(known)}")
        return self

    @model_validator(mode="after")
    def _chosen(self) -> "ExperimentParams":
        if CONTROL not in self.arms:
            raise ValueError(f"no arm named `{CONTROL}`: add it")
        for profile, arms in self.only.items():
            if unknown := [arm for arm in arms if arm not in self.arms]:
                raise ValueError(f"only.{profile}: unknown arm {unknown[0]!r}")
            if CONTROL not in arms:
                raise ValueError(f"only.{profile}: `{CONTROL}` is missing")
        for profile, counts in self.seeds.items():
            if unknown := [arm for arm in counts if arm not in self.arms]:
                raise ValueError(f"seeds.{profile}: unknown arm {unknown[0]!r}")
        return self

    def arms_at(self, profile: str) -> list[str]:
        """The arms that a profile runs, in the order of the file."""
        return [arm for arm in self.arms if arm in self.only.get(profile, self.arms)]

    def seeds_of(self, arm: str, profile: Profile) -> tuple[int, ...]:
        """The training seeds of an arm."""
        seeds, fewer = profile.tuning.seeds, self.seeds.get(profile.name, {})
        return seeds[: min(fewer.get(name, len(seeds)) for name in (arm, CONTROL))]


def known_experiments() -> list[str]:
    """Names of those that have a folder."""
    return sorted(path.parent.name for path in EXPERIMENTS.glob("*/experiment.py"))


def load_params(experiment: str) -> ExperimentParams:
    """The params.yaml of an experiment; NlaError lists the known ones, or names the wrong keys."""
    known = known_experiments()
    if experiment not in known:
        remedy = f"choose one of {', '.join(known)}"
        raise NlaError(f"unknown experiment {experiment!r}", where=EXPERIMENTS, remedy=remedy)
    file = EXPERIMENTS / experiment / "params.yaml"
    params = load_config(ExperimentParams, file)
    if strange := sorted({*params.only, *params.seeds} - {*known_profiles()}):
        what = f"unknown profile {', '.join(map(repr, strange))} in `only` or `seeds`"
        raise NlaError(what, where=file, remedy=f"choose from {', '.join(known_profiles())}")
    return params


def check_arm(experiment: str, arm: str) -> None:
    """NlaError when the experiment has no arm of that name."""
    known = load_params(experiment).arms
    if arm not in known:
        where, remedy = (
            EXPERIMENTS / experiment / "params.yaml",
            f"choose one of {', '.join(known)}",
        )
        raise NlaError(f"unknown arm {arm!r}", where=where, remedy=remedy)


def check_seed(seed: int | None, counting: dict[str, tuple[int, ...]], experiment: str) -> None:
    """NlaError for a seed that no report would read: one that none of the arms has."""
    known = sorted({one for seeds in counting.values() for one in seeds})
    if seed not in (None, *known):
        where = f"{experiment}, {', '.join(counting)}" if len(counting) == 1 else experiment
        remedy = f"choose one of {', '.join(map(str, known))} (tuning.seeds of the profile)"
        raise NlaError(f"seed {seed} does not count in any report", where=where, remedy=remedy)
