"""The profile: the scale of a run, one word for all settings."""

from pathlib import Path

import yaml
from pydantic import Field

from common.config import (
    ActivationsConfig,
    ARConfig,
    AVConfig,
    Config,
    CorpusConfig,
    EvaluationConfig,
    RLConfig,
    RolloutConfig,
    TargetConfig,
    TeacherConfig,
    TrainerConfig,
    TuningConfig,
    load_config,
)
from common.device import gains_from_bfloat16
from common.errors import NlaError
from common.paths import PROFILES
from common.schema import SPLITS


class Profile(Config):
    """The scale of a run, nothing else."""

    name: str
    target: TargetConfig
    corpus: CorpusConfig
    activations: ActivationsConfig
    teacher: TeacherConfig = TeacherConfig()
    av: AVConfig
    ar: ARConfig
    rl: RLConfig
    rollout: RolloutConfig = RolloutConfig()
    tuning: TuningConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    trainer: TrainerConfig = TrainerConfig()
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of a process; None: all. Tiny tensors lose more to waiting than they gain."""


def load_profile(name: str) -> Profile:
    """`common/profiles/<name>.yaml`, validated; NlaError names the known ones or the bad key."""
    file = PROFILES / f"{name}.yaml"
    if not file.exists():
        known = ", ".join(sorted(path.stem for path in PROFILES.glob("*.yaml")))
        raise NlaError(f"unknown profile {name!r}", remedy=f"choose one of {known}")
    profile = load_config(Profile, file, name=name)
    unknown = {*profile.corpus.fractions, *profile.activations.documents} - set(SPLITS)
    if unknown:
        raise NlaError(
            f"unknown split {sorted(unknown)}", where=file, remedy=f"choose from {SPLITS}"
        )
    return _with_precision(profile)


def _with_precision(profile: Profile) -> Profile:
    """What `auto` means on this machine, so that every run records what it really did."""
    changes: dict[str, object] = {}
    if profile.trainer.precision == "auto":
        precision = "bf16-mixed" if gains_from_bfloat16() else "32-true"
        changes["trainer"] = profile.trainer.replace(precision=precision)
    if profile.activations.precision == "auto":
        name = "bfloat16" if gains_from_bfloat16() else "float32"
        changes["activations"] = profile.activations.replace(precision=name)
    return profile.replace(**changes) if changes else profile


def is_active(name: str) -> bool:
    """Whether DVC goes by this profile, here."""
    try:
        return name == active_profile()
    except NlaError:
        return False


def active_profile() -> str:
    """The word in the root params.yaml that chooses the profile."""
    file = Path("params.yaml")
    if not file.exists():
        raise NlaError(
            "no params.yaml here", where=Path.cwd(), remedy="run from the repository root"
        )
    try:
        return yaml.safe_load(file.read_text())["profile"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        remedy = "choose a profile with `nla profile smoke`"
        raise NlaError("names no profile", where=file, remedy=remedy) from error
