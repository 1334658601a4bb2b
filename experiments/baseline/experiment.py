"""The published recipe, warm start and then reinforcement learning; and which model learns.

Run: `dvc repro experiments/baseline`, or one arm with `nla run baseline --arm frozen_ar`.
Cost: rollouts and steps for each arm in which an AV learns, less for the others; see `reports/`
for the times.
Decision rule: rule.py in this folder, in words in README.md.
"""

from typing import Any, Literal

from common.arms.naming import LastWord
from common.arms.neutral import NeutralAR
from common.arms.policy import PolicyArm
from common.config import RLConfig
from common.config_base import Config
from common.experiment import Experiment

PUBLISHED = {
    "temperature": 1.0,
    "credit_after": 0,
    "schedule": "constant",
    "ar_schedule": None,
    "ar_warmup_fraction": 0.0,
    "invalid_reward": -2.0,
}
"""Settings of `rl` in which profiles for CPUs differ; rates and sizes stay the profile's."""


class ArmConfig(Config):
    """Which model learns, and how."""

    trained: Literal["both", "av", "ar", "nobody"] = "both"
    algorithm: Literal["grpo", "best_of"] = "grpo"
    published: bool = False
    """Whether sampling, credit and schedules are as published."""


class RecipeArm(PolicyArm):
    """Reinforcement learning from the same warm-started AV and AR."""

    settings_class = ArmConfig
    settings: ArmConfig

    def changed(self, config: RLConfig) -> RLConfig:
        """The profile's `rl`, as this arm changes it."""
        arm = self.settings
        if arm.trained == "nobody":
            return config.replace(steps=0)
        changes: dict[str, Any] = PUBLISHED if arm.published else {}
        if arm.algorithm == "best_of":
            changes = changes | {"algorithm": "best_of", "credit_after": 0, "kl": 0.0}
        return config.replace(trained=arm.trained, **changes)


EXPERIMENT = Experiment("baseline", RecipeArm, (NeutralAR(), LastWord()))
