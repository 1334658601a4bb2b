"""`ar_small` under optimisation: does a weaker AR make the AV quote less and say more?

Run: `dvc repro experiments/ar_small_rl` (it needs the ARs of `ar_small`, which DVC makes first), or
one arm with `nla run ar_small_rl --arm blocks_1`.
Cost: as many rollouts an arm as `control` of `baseline`; see `reports/` for what each took.
Decision rule: rule.py in this folder, in words in README.md.
"""

from pydantic import Field

from common.arms.partner import Partner, finished
from common.arms.policy import PolicyArm
from common.config import Config, RLConfig
from common.experiment import Experiment
from common.material import Material

TRAINED_BY = "ar_small"
"""The experiment whose runs hold the ARs."""


class ArmConfig(Config):
    """Against which AR the AV learns."""

    ar: str
    """An arm of `ar_small`."""
    steps: int | None = Field(default=None, ge=0)
    """Of reinforcement learning; None: as many as the profile says."""

    def changed(self, config: RLConfig) -> RLConfig:
        """The profile's reinforcement learning is the same for all arms that learn."""
        return config if self.steps is None else config.replace(steps=self.steps)


def build(arm: ArmConfig, material: Material) -> Partner:
    """The AR of a finished run; it goes on with its own tuned rate, scaled like the control's."""
    return finished(TRAINED_BY, arm.ar, material)


EXPERIMENT = Experiment(
    name="ar_small_rl",
    arm_config=ArmConfig,
    arm_class=PolicyArm,
    build=build,
)
