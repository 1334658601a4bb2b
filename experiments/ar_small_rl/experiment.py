"""`ar_small` under optimisation: does a weaker AR make the AV quote less and say more?

Run: `dvc repro experiments/ar_small_rl` (it needs the ARs of `ar_small`, which DVC makes first), or
one arm with `nla run ar_small_rl --arm blocks_1`.
Cost: as many rollouts for each arm as `control` of `baseline`; see `reports/` for the times.
Decision rule: rule.py in this folder, in words in README.md.
"""

from pydantic import Field

from common.arms.neutral import NeutralAR
from common.arms.partner import Partner, finished
from common.arms.policy import PolicyArm
from common.config import Config, RLConfig
from common.experiment import Experiment

TRAINED_BY = "ar_small"
"""The experiment whose runs provide the ARs."""


class ArmConfig(Config):
    """The AR against which the AV learns."""

    ar: str
    """An arm of `ar_small`."""
    steps: int | None = Field(default=None, ge=0)
    """Steps of reinforcement learning; None: as many as the profile says."""


class WeakPartnerArm(PolicyArm):
    """Reinforcement learning against the AR of a finished run."""

    settings_class = ArmConfig
    settings: ArmConfig

    def changed(self, config: RLConfig) -> RLConfig:
        """The profile's `rl`, which is the same for all arms that learn."""
        steps = self.settings.steps
        return config if steps is None else config.replace(steps=steps)

    def partner(self, seed: int) -> Partner:
        """The AR keeps its own tuned learning rate, scaled like the control's."""
        return finished(TRAINED_BY, self.settings.ar, self.trunk(seed), seed)


EXPERIMENT = Experiment("ar_small_rl", WeakPartnerArm, (NeutralAR(),))
