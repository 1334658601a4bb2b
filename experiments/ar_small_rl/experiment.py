"""`ar_small` under optimisation: does a weaker AR make the AV quote less and say more?

Where an AV can quote: it reads the activations of several positions (trunk `window`), and a pair of
AV and AR is the unit. The weaker ARs are trained here, on that trunk's texts.

Run: `dvc repro experiments/ar_small_rl`, or one arm with `nla run ar_small_rl --arm blocks_1`,
after the AR that it names.
Cost: as many rollouts for each arm and pair as `control` of `baseline`; see `reports/` for the
times.
Decision rule: rule.py in this folder, in words in README.md.
"""

from ar_variants.small import SizeArm
from common.arms.naming import LastWord
from common.arms.neutral import NeutralAR
from common.arms.partnered import PartneredArm
from common.arms.reconstructor import WarmStartAR
from common.experiment import Experiment


class ReaderArm(WarmStartAR, SizeArm):
    """Trains an AR of some size on the trunk's texts, for an AV to learn against."""


KINDS = {"policy": PartneredArm, "reader": ReaderArm}
EXPERIMENT = Experiment("ar_small_rl", KINDS, (NeutralAR(), LastWord()))
