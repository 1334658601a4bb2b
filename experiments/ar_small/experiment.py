"""How small can the AR be, and how much of a large AR's score comes from quotes?

Run: `dvc repro experiments/ar_small`, or one arm with `nla run ar_small --arm blocks_2`.
Cost: most of the laptop profile's time; see `reports/` for the time of each arm.
Decision rule: rule.py in this folder, in words in README.md.
"""

from pydantic import Field, model_validator

from ar_variants.small import BagOfWordsReconstructor, LowRankReconstructor, ShallowReconstructor
from common.arms.floors import TrunkFloors
from common.arms.reconstructor import ReconstructorArm
from common.config import Config
from common.errors import NlaError
from common.experiment import Experiment
from common.models.reconstructor import Reconstructor, TruncatedReconstructor
from common.trunk.artefacts import Trunk


class ArmConfig(Config):
    """The size of one AR: its depth, or the width of a narrow part."""

    blocks: int | None = Field(default=None, ge=1)
    """Number of the target's blocks to keep; None: all up to the layer that is read."""
    rank: int | None = Field(default=None, ge=1)
    """Width of a low-rank head."""
    hidden: int | None = Field(default=None, ge=1)
    """Set for the bag of words: width of its hidden layer."""

    @model_validator(mode="after")
    def _one_kind(self) -> "ArmConfig":
        if self.hidden and (self.blocks or self.rank):
            raise ValueError("a bag of words has neither blocks nor rank")
        return self


class SizeArm(ReconstructorArm):
    """Trains an AR of some size."""

    settings_class = ArmConfig
    settings: ArmConfig

    def build(self, trunk: Trunk) -> Reconstructor:
        """A new AR; NlaError for more blocks than there are up to the layer that is read."""
        arm, model, tokenizer = self.settings, trunk.target.model, trunk.target.tokenizer
        limit, whole = self.profile.ar.max_explanation_tokens, trunk.layer + 1
        if arm.hidden:
            return BagOfWordsReconstructor(model, tokenizer, limit, arm.hidden, trunk.mean)
        blocks = arm.blocks or whole
        if blocks > whole:
            what = f"an arm keeps {blocks} blocks, but there are {whole} up to layer {trunk.layer}"
            where = "experiments/ar_small/params.yaml"
            raise NlaError(what, where=where, remedy=f"set `blocks` to at most {whole}")
        if arm.rank:
            activations = trunk.training_activations
            return LowRankReconstructor(model, tokenizer, blocks, limit, arm.rank, activations)
        kind = TruncatedReconstructor if blocks == whole else ShallowReconstructor
        return kind(model, tokenizer, blocks, limit)


EXPERIMENT = Experiment("ar_small", SizeArm, (TrunkFloors(),))
