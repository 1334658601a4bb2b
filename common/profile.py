"""The profile: the scale of a run, one word for all settings."""

from pathlib import Path

import yaml
from pydantic import Field, model_validator

from common.config import (
    ActivationsConfig,
    ARConfig,
    AVConfig,
    CorpusConfig,
    EvaluationConfig,
    RLConfig,
    RolloutConfig,
    TargetConfig,
    TeacherConfig,
    TrainerConfig,
    TuningConfig,
)
from common.config_base import Config
from common.config_file import load_config
from common.errors import NlaError
from common.files import replace_text
from common.paths import PROFILES

PARAMS = Path("params.yaml")


class Profile(Config):
    """The scale of a run, nothing else.

    Sections have no defaults, since DVC, which names them, knows none.
    """

    name: str
    target: TargetConfig
    corpus: CorpusConfig
    activations: ActivationsConfig
    teacher: TeacherConfig
    av: AVConfig
    ar: ARConfig
    rl: RLConfig
    rollout: RolloutConfig
    tuning: TuningConfig
    evaluation: EvaluationConfig
    trainer: TrainerConfig
    warm_starts: int = Field(ge=1)
    """Pairs of AV and AR, each of its own initialisation and order of examples. Training seed s of
    an arm goes on from pair s modulo `warm_starts`."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of a process; None: all. With tiny tensors, threads wait more than they gain."""

    @model_validator(mode="after")
    def _slots_hold_the_window(self) -> "Profile":
        slots, window = self.av.slots, self.activations.window
        if window > 1 and slots not in (1, window):
            what = f"av.slots = {slots}, but activations.window = {window}"
            raise ValueError(f"{what}: each position has a slot, leave av.slots out")
        return self


def load_profile(name: str) -> Profile:
    """As `read_profile`, with `auto` replaced by this machine's value, which every run records."""
    return _with_precision(read_profile(name))


def read_profile(name: str) -> Profile:
    """`common/profiles/<name>.yaml`, validated; NlaError names the known ones or the bad keys.

    Imports nothing heavy.
    """
    if name not in known_profiles():
        remedy = f"choose one of {', '.join(known_profiles())}"
        raise NlaError(f"unknown profile {name!r}", remedy=remedy)
    return load_config(Profile, PROFILES / f"{name}.yaml", name=name)


def known_profiles() -> list[str]:
    """The names of all profiles."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def _with_precision(profile: Profile) -> Profile:
    if "auto" not in (profile.trainer.precision, profile.activations.precision):
        return profile
    from common.device import gains_from_bfloat16

    changes: dict[str, object] = {}
    if profile.trainer.precision == "auto":
        precision = "bf16-mixed" if gains_from_bfloat16() else "32-true"
        changes["trainer"] = profile.trainer.replace(precision=precision)
    if profile.activations.precision == "auto":
        name = "bfloat16" if gains_from_bfloat16() else "float32"
        changes["activations"] = profile.activations.replace(precision=name)
    return profile.replace(**changes)


def choose_profile(name: str) -> None:
    """Write the word into params.yaml; NlaError for a profile that DVC could not use."""
    read_profile(name)
    replace_text(PARAMS, f"profile: {name}\n")


def is_active(name: str) -> bool:
    """Whether this is the profile that DVC uses here."""
    try:
        return name == active_profile()
    except NlaError:
        return False


def active_profile() -> str:
    """The word in the root params.yaml that chooses the profile."""
    try:
        return str(yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["profile"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        remedy = "choose a profile with `nla profile smoke`"
        raise NlaError("names no profile", where=PARAMS, remedy=remedy) from error
