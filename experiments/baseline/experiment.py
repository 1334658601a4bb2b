"""The published recipe, warm start and then reinforcement learning; and who of the two learns.

Run: `dvc repro experiments/baseline`, or one arm with `nla run baseline --arm frozen_ar`.
Cost: four arms of a seed each: one without training, one of the AR's steps alone, two of rollouts
and steps; see `reports/` for what each took.
Decision rule: README.md in this folder, repeated in findings.py and applied by its `verdict`.
"""

from typing import Literal

from common.arms.partner import Partner, warm_started
from common.arms.policy import PolicyArm
from common.config import Config, RLConfig
from common.experiment import Experiment
from common.material import Material
from experiments.baseline.findings import RULE, sections, verdict

QUESTION = (
    "What does reinforcement learning add to a warm-started NLA, and does the AV learn to say more"
    " or the AR to read better?"
)


class ArmConfig(Config):
    """Who learns."""

    trained: Literal["both", "av", "ar", "nobody"] = "both"

    def changed(self, config: RLConfig) -> RLConfig:
        """The profile's reinforcement learning as this arm does it."""
        if self.trained == "nobody":
            return config.replace(steps=0)
        return config.replace(trained=self.trained)


def build(_arm: ArmConfig, material: Material) -> Partner:
    """Every arm starts from the same warm-started AV and AR."""
    return warm_started(material)


EXPERIMENT = Experiment(
    name="baseline",
    question=QUESTION,
    decision_rule=RULE,
    arm_config=ArmConfig,
    arm_class=PolicyArm,
    build=build,
    verdict=verdict,
    sections=sections,
)
