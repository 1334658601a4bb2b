"""The published recipe, warm start and then reinforcement learning; and who of the two learns.

Run: `dvc repro experiments/baseline`, or one arm with `nla run baseline --arm frozen_ar`.
Cost: rollouts and steps for each arm in which an AV learns, less for the others; see `reports/` for
what each took.
Decision rule: rule.py in this folder, in words in README.md.
"""

from typing import Any, Literal

from common.arms.partner import Partner, warm_started
from common.arms.policy import PolicyArm
from common.config import Config, RLConfig
from common.experiment import Experiment
from common.material import Material

PUBLISHED = {
    "temperature": 1.0,
    "credit_after": 0,
    "schedule": "constant",
    "ar_schedule": None,
    "ar_warmup_fraction": 0.0,
    "invalid_reward": -2.0,
}
"""Of `rl`, where profiles for CPUs depart from it; rates and sizes stay the profile's."""


class ArmConfig(Config):
    """Who learns, and how."""

    trained: Literal["both", "av", "ar", "nobody"] = "both"
    algorithm: Literal["grpo", "best_of"] = "grpo"
    published: bool = False
    """Whether explanations are sampled and credited, and rates scheduled, as published."""

    def changed(self, config: RLConfig) -> RLConfig:
        """The profile's reinforcement learning as this arm does it."""
        if self.trained == "nobody":
            return config.replace(steps=0)
        changes: dict[str, Any] = PUBLISHED if self.published else {}
        if self.algorithm == "best_of":
            changes = changes | {"algorithm": "best_of", "credit_after": 0, "kl": 0.0}
        return config.replace(trained=self.trained, **changes)


def build(_arm: ArmConfig, material: Material) -> Partner:
    """Every arm starts from the same warm-started AV and AR."""
    return warm_started(material)


EXPERIMENT = Experiment(
    name="baseline",
    arm_config=ArmConfig,
    arm_class=PolicyArm,
    build=build,
)
