"""`ar_small` under optimisation: does a weaker AR make the AV quote less and say more?

Where an AV can quote: it reads the activations of several positions (trunk `window`), and a pair of
AV and AR is the unit. The weaker ARs are trained here, on that trunk's texts.

Run: `dvc repro experiments/ar_small_rl`, or one arm with `nla run ar_small_rl --arm blocks_1`,
after the AR that it names.
Cost: as many rollouts for each arm and pair as `control` of `baseline`; see `reports/` for the
times.
Decision rule: rule.py in this folder, in words in README.md.
"""

from pydantic import Field

from ar_variants.small import SizeArm
from common.arms.naming import LastWord
from common.arms.neutral import NeutralAR
from common.arms.partner import Partner, finished, warm_started
from common.arms.policy import PolicyArm
from common.arms.reconstructor import WarmStartAR
from common.config import RLConfig
from common.config_base import Config
from common.experiment import Experiment


class ArmConfig(Config):
    """The AR against which the AV learns."""

    ar: str = ""
    """An arm of kind `reader`; empty: the trunk's own AR, of all blocks."""
    steps: int | None = Field(default=None, ge=0)
    """Steps of reinforcement learning; None: as many as the profile says."""


class WeakPartnerArm(PolicyArm):
    """Reinforcement learning against an AR of some size."""

    settings_class = ArmConfig
    settings: ArmConfig

    def changed(self, config: RLConfig) -> RLConfig:
        """The profile's `rl`, which is the same for all arms that learn."""
        steps = self.settings.steps
        return config if steps is None else config.replace(steps=steps)

    def partner(self, seed: int) -> Partner:
        """The AR of the same pair that the settings name."""
        trunk, ar = self.trunk(seed), self.settings.ar
        return finished(self.plan.experiment, ar, trunk, seed) if ar else warm_started(trunk)


class ReaderArm(WarmStartAR, SizeArm):
    """Trains an AR of some size on the trunk's texts, for an AV to learn against."""


KINDS = {"policy": WeakPartnerArm, "reader": ReaderArm}
EXPERIMENT = Experiment("ar_small_rl", KINDS, (NeutralAR(), LastWord()))
