"""Arms whose AV learns against an AR that an arm of the same experiment has trained."""

from pydantic import Field

from common.arms.partner import Partner, finished, warm_started
from common.arms.policy import PolicyArm
from common.config import RLConfig
from common.config_base import Config


class PartnerConfig(Config):
    """The AR against which the AV learns."""

    ar: str = ""
    """An arm of the experiment that trains an AR; empty: the trunk's own AR."""
    steps: int | None = Field(default=None, ge=0)
    """Steps of reinforcement learning; None: as many as the profile says."""


class PartneredArm(PolicyArm):
    """Reinforcement learning against an AR of the same pair that the settings name."""

    settings_class = PartnerConfig
    settings: PartnerConfig

    def changed(self, config: RLConfig) -> RLConfig:
        """The profile's `rl`, which is the same for all arms that learn."""
        steps = self.settings.steps
        return config if steps is None else config.replace(steps=steps)

    def partner(self, seed: int) -> Partner:
        """With what it may see of an input."""
        trunk, ar = self.trunk(seed), self.settings.ar
        return finished(self.plan.experiment, ar, trunk, seed) if ar else warm_started(trunk)
