"""What does an AV say that is rewarded by an AR which anybody can follow?

Run: `dvc repro experiments/ar_flowchart_rl`, or one arm with `nla run ar_flowchart_rl --arm chart`,
after the arm of `ar_flowchart` that it names.
Cost: as many rollouts for each arm and pair as `control` of `baseline`.
Decision rule: rule.py in this folder, in words in README.md.
"""

from typing import Any

from pydantic import Field

from ar_variants.flowchart.fitted import FittedReconstructor
from ar_variants.flowchart.refitting import Refitting
from common.arms.neutral import NeutralAR
from common.arms.partner import Partner, finished
from common.arms.policy import PolicyArm
from common.config import RLConfig
from common.config_base import Config
from common.evaluation.trunk_floors import lesson_of
from common.experiment import Experiment
from common.models.reconstructor import Reconstructor
from common.schema import View
from common.trunk.artefacts import Trunk


class ArmConfig(Config):
    """The AR against which the AV learns."""

    ar: str
    """An arm of `ar_flowchart` that is fitted."""
    every: int = Field(ge=1)
    """After how many rollouts it is fitted again."""


class ChartPartnerArm(PolicyArm):
    """Reinforcement learning against a fitted AR."""

    settings_class = ArmConfig
    settings: ArmConfig

    def changed(self, config: RLConfig) -> RLConfig:
        """No gradient reaches the AR: it is fitted."""
        return config.replace(trained="av")

    def partner(self, seed: int) -> Partner:
        """The fitted AR of the same pair."""
        return finished("ar_flowchart", self.settings.ar, self.trunk(seed), seed)

    def context(self, trunk: Trunk, reconstructor: Reconstructor, view: View) -> dict[str, Any]:
        """Fits the AR again and again."""
        assert isinstance(reconstructor, FittedReconstructor), "an arm of ar_flowchart"
        lesson = lesson_of(trunk, trunk.ar_examples())
        hook = Refitting(reconstructor, lesson, trunk.documents_of, self.settings.every)
        return super().context(trunk, reconstructor, view) | {"after_rollout": hook}


EXPERIMENT = Experiment("ar_flowchart_rl", ChartPartnerArm, (NeutralAR(),))
